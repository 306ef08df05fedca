#include "session/public_errors.h"

#include <c10/util/Exception.h>

#include <filesystem>
#include <optional>
#include <stdexcept>
#include <variant>

#include "base/files.h"
#include "graft/errors.h"

namespace graft {

void rethrow_public() {
  try {
    throw;
  } catch (const std::filesystem::filesystem_error& error) {
    throw IoError(refusal_text(error));
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
