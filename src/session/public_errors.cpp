#include "session/public_errors.h"

#include <c10/util/Exception.h>

#include <filesystem>
#include <optional>
#include <stdexcept>
#include <variant>

#include "base/printable.h"

namespace graft {

void rethrow_public() {
  try {
    throw;
  } catch (const std::filesystem::filesystem_error& error) {
    throw IoError("cannot look at " + named(error.path1().string()) + ": " +
                  error.code().message());
  } catch (const c10::Error& error) {
    throw InternalError(error.what_without_backtrace());
  } catch (const std::logic_error& error) {
    throw InternalError(error.what());
  } catch (const std::bad_optional_access& error) {
    throw InternalError(error.what());
  } catch (const std::bad_variant_access& error) {
    throw InternalError(error.what());
  }
}

}  // namespace graft
