#include "interop/torch_writer.h"

#include <caffe2/serialize/inline_container.h>

#include <string>

#include "base/error.h"

namespace graft {

namespace {

using at::Tensor;

// The instructions of pickle protocol 2 that a dictionary of dense tensors needs. Letters as in
// Python's pickletools.
class Pickle {
 public:
  Pickle() : bytes_("\x80\x02") {}

  void letter(char code) { bytes_ += code; }
  void text(const std::string& value) {
    bytes_ += 'X';
    little(value.size(), 4);
    bytes_ += value;
  }
  void name(const std::string& module, const std::string& of) {
    bytes_ += "c" + module + "\n" + of + "\n";
  }
  void integer(int64_t value) {
    ensure(value >= 0, "sizes and strides are no negative numbers");
    bytes_ += "\x8a\x08";
    little(static_cast<uint64_t>(value), 8);
  }
  void integers(at::IntArrayRef values) {
    letter('(');
    for (const int64_t value : values) integer(value);
    letter('t');
  }
  const std::string& bytes() const { return bytes_; }

 private:
  void little(uint64_t value, int count) {
    for (int i = 0; i < count; ++i) bytes_ += static_cast<char>(value >> (8 * i) & 0xff);
  }

  std::string bytes_;
};

// torch._utils._rebuild_tensor_v2(storage, 0, sizes, strides, requires_grad=False,
// hooks=OrderedDict()), the storage by its record's name.
void put_tensor(Pickle& pickle, const Tensor& tensor, const std::string& key) {
  ensure(tensor.scalar_type() == at::kFloat || tensor.scalar_type() == at::kLong,
         "a tensor of float32 or int64");
  pickle.name("torch._utils", "_rebuild_tensor_v2");
  pickle.letter('(');
  pickle.letter('(');
  pickle.text("storage");
  pickle.name("torch", tensor.scalar_type() == at::kFloat ? "FloatStorage" : "LongStorage");
  pickle.text(key);
  pickle.text("cpu");
  pickle.integer(tensor.numel());
  pickle.letter('t');
  pickle.letter('Q');
  pickle.integer(0);
  pickle.integers(tensor.sizes());
  pickle.integers(tensor.strides());
  pickle.letter('\x89');
  pickle.name("collections", "OrderedDict");
  for (const char code : {')', 'R', 't', 'R'}) pickle.letter(code);
}

}  // namespace

void save_torch_file(const Path& path, const NamedTensors& tensors) {
  Pickle pickle;
  std::vector<Tensor> stored;
  for (const char code : {'}', '('}) pickle.letter(code);
  for (const auto& [name, tensor] : tensors) {
    pickle.text(name);
    stored.push_back(tensor.detach().contiguous());
    put_tensor(pickle, stored.back(), std::to_string(stored.size() - 1));
  }
  for (const char code : {'u', '.'}) pickle.letter(code);
  std::string bytes;
  {
    caffe2::serialize::PyTorchStreamWriter writer([&](const void* data, size_t size) {
      bytes.append(static_cast<const char*>(data), size);
      return size;
    });
    writer.writeRecord("data.pkl", pickle.bytes().data(), pickle.bytes().size());
    const std::string order = "little";
    writer.writeRecord("byteorder", order.data(), order.size());
    for (size_t i = 0; i < stored.size(); ++i)
      writer.writeRecord("data/" + std::to_string(i), stored[i].const_data_ptr(),
                         stored[i].nbytes());
    writer.writeEndOfFile();
  }
  write_file_atomically(path, bytes);
}

}  // namespace graft
