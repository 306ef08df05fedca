#include "interop/pickle.h"

#include <algorithm>
#include <cstring>
#include <deque>
#include <optional>
#include <string_view>

#include "base/error.h"
#include "interop/pickle_program.h"
#include "interop/torch_archive.h"
#include "interop/torch_storage.h"

namespace graft {

namespace {

using at::Tensor;

constexpr size_t kMaxPickleBytes = size_t{64} << 20;
constexpr size_t kMaxDimensions = 16;

enum class Kind {
  kNone,
  kBool,
  kInteger,
  kReal,
  kText,
  kList,
  kTuple,
  kMap,
  kTensor,
  kStorage,
  kName
};

// A value of the pickle. What it holds lies in the machine, which owns everything:
// a list that holds itself neither leaks nor recurses.
struct Value {
  Kind kind = Kind::kNone;
  int64_t number = 0;  // kBool, kInteger
  double real = 0;     // kReal
  size_t at = 0;       // index into the machine's store for the kind
};

const char* kind_text(Kind kind) {
  constexpr const char* kNames[] = {"None",     "a truth value", "an integer", "a number",
                                    "a text",   "a list",        "a tuple",    "a dictionary",
                                    "a tensor", "a storage",     "a name"};
  return kNames[static_cast<size_t>(kind)];
}

// Executes the instructions of pickle protocol 2, which is what torch.save writes.
class Machine {
 public:
  Machine(std::string_view program, const TorchArchive& archive, const std::string& source)
      : program_(program, source), archive_(archive), source_(source) {}

  NamedTensors run() {
    while (step()) {
    }
    return as_tensors(pop());
  }

 private:
  [[noreturn]] void fail(const std::string& message) const { program_.fail(message); }

  // ---- the stack
  void push(Value value) { stack_.push_back(value); }

  Value pop() {
    if (stack_.size() <= floor()) fail("an instruction finds nothing on the stack");
    const Value top = stack_.back();
    stack_.pop_back();
    return top;
  }

  Value& top() {
    if (stack_.size() <= floor()) fail("an instruction finds nothing on the stack");
    return stack_.back();
  }

  size_t floor() const { return marks_.empty() ? 0 : marks_.back(); }

  std::vector<Value> pop_to_mark() {
    if (marks_.empty()) fail("an instruction finds no mark on the stack");
    const size_t from = marks_.back();
    marks_.pop_back();
    std::vector<Value> out(stack_.begin() + static_cast<std::ptrdiff_t>(from), stack_.end());
    stack_.resize(from);
    return out;
  }

  // ---- making values
  Value sequence(Kind kind, std::vector<Value> items) {
    sequences_.push_back(std::move(items));
    return {.kind = kind, .at = sequences_.size() - 1};
  }

  Value text(Kind kind, std::string value) {
    texts_.push_back(std::move(value));
    return {.kind = kind, .at = texts_.size() - 1};
  }

  Value new_map() {
    maps_.emplace_back();
    return {.kind = Kind::kMap, .at = maps_.size() - 1};
  }

  Value tensor(Kind kind, Tensor value) {
    tensors_.push_back(std::move(value));
    return {.kind = kind, .at = tensors_.size() - 1};
  }

  Value expect(const Value& value, Kind kind, const char* what) const {
    if (value.kind != kind)
      fail(std::string("expected ") + kind_text(kind) + " as " + what + ", found " +
           kind_text(value.kind));
    return value;
  }

  const std::vector<Value>& items(const Value& value) const { return sequences_[value.at]; }

  std::vector<int64_t> integers(const Value& value, const char* what) const {
    std::vector<int64_t> out;
    const std::vector<Value>& parts = items(expect(value, Kind::kTuple, what));
    if (parts.size() > kMaxDimensions)
      fail("more than " + std::to_string(kMaxDimensions) + " dimensions");
    for (const Value& part : parts) out.push_back(expect(part, Kind::kInteger, what).number);
    return out;
  }

  // ---- what torch.save names
  Value name_of(const std::string& module, const std::string& name) {
    const std::string full = module + "." + name;
    if (module == "torch" && type_of_storage(name)) return text(Kind::kName, full);
    for (const char* known : {"torch._utils._rebuild_tensor_v2", "torch._utils._rebuild_parameter",
                              "collections.OrderedDict"}) {
      if (full == known) return text(Kind::kName, full);
    }
    fail(
        "the file asks for " + quote(full) +
        "; only tensors in plain dictionaries, lists and tuples are read, and nothing is ever run");
  }

  at::ScalarType dtype_of(const Value& storage_class) const {
    const std::string& name =
        texts_[expect(storage_class, Kind::kName, "the class of a storage").at];
    constexpr std::string_view kModule = "torch.";
    const std::optional<at::ScalarType> type =
        name.starts_with(kModule) ? type_of_storage(name.substr(kModule.size())) : std::nullopt;
    if (!type) fail(quote(name) + " is no class of storages");
    return *type;
  }

  // ('storage', class, key, device, number of elements)
  Value persistent(const Value& id) {
    const std::vector<Value>& parts = items(expect(id, Kind::kTuple, "the address of a storage"));
    if (parts.size() != 5 ||
        texts_[expect(parts[0], Kind::kText, "the kind of an address").at] != "storage")
      fail("expected the address of a storage, of five parts");
    const at::ScalarType dtype = dtype_of(parts[1]);
    const std::string& key = texts_[expect(parts[2], Kind::kText, "the key of a storage").at];
    const int64_t numel = expect(parts[4], Kind::kInteger, "the length of a storage").number;
    if (numel < 0) fail("a storage of " + std::to_string(numel) + " elements");
    const auto known = storages_.find(key);
    if (known == storages_.end()) {
      const Value made =
          tensor(Kind::kStorage, read_storage(archive_, source_, "data/" + key, dtype, numel));
      storages_.emplace(key, made);
      return made;
    }
    const Tensor& old = tensors_[known->second.at];
    if (old.scalar_type() != dtype || old.numel() != numel)
      fail("storage " + quote(key) + " is described in two ways");
    return known->second;
  }

  // _rebuild_tensor_v2(storage, offset, sizes, strides, requires_grad, hooks[, metadata])
  Value rebuild_tensor(const std::vector<Value>& arguments) {
    if (arguments.size() < 6 || arguments.size() > 7)
      fail("expected six arguments of a tensor, found " + std::to_string(arguments.size()));
    const Tensor& storage =
        tensors_[expect(arguments[0], Kind::kStorage, "what a tensor lies in").at];
    const int64_t offset = expect(arguments[1], Kind::kInteger, "the offset of a tensor").number;
    const std::vector<int64_t> sizes = integers(arguments[2], "sizes"),
                               strides = integers(arguments[3], "strides");
    if (sizes.size() != strides.size())
      fail("a tensor has " + std::to_string(sizes.size()) + " sizes and " +
           std::to_string(strides.size()) + " strides");
    expect(arguments[4], Kind::kBool, "whether a tensor needs a gradient");
    if (arguments[5].kind == Kind::kMap ? !maps_[arguments[5].at].empty()
                                        : arguments[5].kind != Kind::kNone)
      fail("a tensor with hooks");
    const std::optional<Tensor> view = view_of_storage(storage, offset, sizes, strides);
    if (!view) {
      fail("a tensor of sizes " + shape_text(sizes) + " and strides " + shape_text(strides) +
           " at " + std::to_string(offset) + " does not lie in its storage of " +
           std::to_string(storage.numel()) + " elements");
    }
    return tensor(Kind::kTensor, *view);
  }

  Value reduce(const Value& function, const Value& argument) {
    const std::string& name = texts_[expect(function, Kind::kName, "what is called").at];
    const std::vector<Value>& arguments = items(expect(argument, Kind::kTuple, "arguments"));
    if (name == "torch._utils._rebuild_tensor_v2") return rebuild_tensor(arguments);
    if (name == "torch._utils._rebuild_parameter") {
      if (arguments.empty()) fail("a parameter without a tensor");
      return expect(arguments[0], Kind::kTensor, "the data of a parameter");
    }
    if (name == "collections.OrderedDict") {
      if (!arguments.empty()) fail("an OrderedDict made with arguments");
      return new_map();
    }
    fail(quote(name) + " is not made by calling it");
  }

  // ---- one instruction; false at the last one. Letters as in Python's pickletools.
  bool step() {
    const char code = program_.bytes(1)[0];
    switch (code) {
      case '.': return false;
      case '(': marks_.push_back(stack_.size()); break;
      case 'N': push({}); break;
      case '\x88': push({.kind = Kind::kBool, .number = 1}); break;
      case '\x89': push({.kind = Kind::kBool, .number = 0}); break;
      case 'K':
        push({.kind = Kind::kInteger, .number = static_cast<int64_t>(program_.little(1))});
        break;
      case 'M':
        push({.kind = Kind::kInteger, .number = static_cast<int64_t>(program_.little(2))});
        break;
      case 'J':
        push({.kind = Kind::kInteger,
              .number = static_cast<int32_t>(static_cast<uint32_t>(program_.little(4)))});
        break;
      case '\x8a': push({.kind = Kind::kInteger, .number = program_.long_integer()}); break;
      case 'G': push({.kind = Kind::kReal, .real = program_.real()}); break;
      case 'X': push(text(Kind::kText, std::string(program_.bytes(program_.little(4))))); break;
      case '}': push(new_map()); break;
      case ']': push(sequence(Kind::kList, {})); break;
      case ')': push(sequence(Kind::kTuple, {})); break;
      case 't': make_tuple(pop_to_mark()); break;
      case '\x85': tuple_of(1); break;
      case '\x86': tuple_of(2); break;
      case '\x87': tuple_of(3); break;
      case 'q': memo_[program_.little(1)] = top(); break;
      case 'r': memo_[program_.little(4)] = top(); break;
      case 'h': push(remembered(program_.little(1))); break;
      case 'j': push(remembered(program_.little(4))); break;
      case 'a': append({pop()}); break;
      case 'e': append(pop_to_mark()); break;
      case 's': set_one(); break;
      case 'u': set_items(pop_to_mark()); break;
      case 'c': push_name(); break;
      case 'Q': push(persistent(pop())); break;
      case 'R': call(); break;
      case 'b': build(); break;
      default:
        fail("instruction " + quote(std::string(1, code)) +
             " is none that a plain dictionary of tensors needs");
    }
    return true;
  }

  void make_tuple(std::vector<Value> parts) { push(sequence(Kind::kTuple, std::move(parts))); }

  void tuple_of(size_t count) {
    std::vector<Value> parts(count);
    for (size_t i = count; i-- > 0;) parts[i] = pop();
    make_tuple(std::move(parts));
  }

  Value remembered(uint64_t index) const {
    const auto found = memo_.find(index);
    if (found == memo_.end()) fail("nothing was remembered as " + std::to_string(index));
    return found->second;
  }

  void append(std::vector<Value> values) {
    std::vector<Value>& list = sequences_[expect(top(), Kind::kList, "what is appended to").at];
    list.insert(list.end(), values.begin(), values.end());
  }

  void set_one() {
    const Value value = pop(), key = pop();
    set_items({key, value});
  }

  void set_items(const std::vector<Value>& values) {
    if (values.size() % 2 != 0) fail("a key without a value");
    auto& map = maps_[expect(top(), Kind::kMap, "what is written into").at];
    for (size_t i = 0; i < values.size(); i += 2) map.emplace_back(values[i], values[i + 1]);
  }

  void push_name() {
    const std::string module = program_.line();
    push(name_of(module, program_.line()));
  }

  void call() {
    const Value arguments = pop(), function = pop();
    push(reduce(function, arguments));
  }

  // Attributes of an OrderedDict (a state dict's _metadata): versions of its modules, of no use
  // here.
  void build() {
    const Value state = pop();
    expect(top(), Kind::kMap, "what gets attributes");
    if (state.kind != Kind::kMap)
      fail(std::string("expected a dictionary of attributes, found ") + kind_text(state.kind));
  }

  NamedTensors as_tensors(const Value& value) const {
    if (value.kind != Kind::kMap)
      throw InputError(source_ + ": expected a dictionary of tensors, found " +
                       kind_text(value.kind));
    NamedTensors out;
    for (const auto& [key, item] : maps_[value.at]) {
      if (key.kind != Kind::kText)
        throw InputError(source_ + ": expected names of tensors, found " + kind_text(key.kind));
      const std::string& name = texts_[key.at];
      if (item.kind != Kind::kTensor)
        throw InputError(source_ + ": " + quote(name) + ": expected a tensor, found " +
                         kind_text(item.kind));
      if (!out.emplace(name, tensors_[item.at]).second)
        throw InputError(source_ + ": tensor " + quote(name) + " is stored twice");
    }
    return out;
  }

  PickleProgram program_;
  const TorchArchive& archive_;
  const std::string& source_;
  std::vector<Value> stack_;
  std::vector<size_t> marks_;  // sizes of the stack
  std::map<uint64_t, Value> memo_;
  std::map<std::string, Value> storages_;  // by key: several tensors may lie in one
  std::deque<std::string> texts_;
  std::deque<std::vector<Value>> sequences_;
  std::deque<std::vector<std::pair<Value, Value>>> maps_;
  std::deque<Tensor> tensors_;
};

}  // namespace

NamedTensors parse_torch_file(std::span<const std::byte> bytes, const std::string& source) {
  if (bytes.size() < 4 || std::memcmp(bytes.data(), "PK\x03\x04", 4) != 0) {
    throw InputError(source +
                     ": not a file of torch 1.6 or newer; load it in Python and save it again with "
                     "safetensors or a newer torch");
  }
  const TorchArchive archive(bytes, source);
  if (!archive.has("data.pkl"))
    throw InputError(source + ": a zip archive without data.pkl, so not a file of torch.save");
  if (archive.has("byteorder") && archive.text("byteorder") != "little")
    throw InputError(source + ": expected little-endian bytes");
  const std::string_view program = archive.text("data.pkl");
  if (program.size() > kMaxPickleBytes)
    throw InputError(source + ": data.pkl is larger than " + std::to_string(kMaxPickleBytes) +
                     " bytes");
  return Machine(program, archive, source).run();
}

NamedTensors load_torch_file(const Path& path) {
  const MappedFile file(path);
  return parse_torch_file(file.bytes(), path.string());
}

}  // namespace graft
