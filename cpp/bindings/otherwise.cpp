#include "bindings/otherwise.hpp"

#include <cerrno>
#include <string>

#include "bindings/errors.hpp"
#include "bindings/types.hpp"

namespace iocp::py {

namespace pb = pybind11;

const Types& types_of_module() {
    const pb::capsule reference = pb::module_::import("iocp_sock._core").attr("_types");
    return *reference.get_pointer<Types>();
}

void refuse_call(const char* usage) {
    const std::string text = std::string("wrong arguments; the call is ") + usage;
    raise(types_of_module(), ErrorClass::argument_type, EINVAL, text.c_str());
    throw pb::error_already_set();
}

}  // namespace iocp::py
