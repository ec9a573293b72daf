// The waits of run/wait.hpp, for threads of the interpreter.

#include "bindings/waiting.hpp"

#include <cerrno>

#include "bindings/errors.hpp"
#include "bindings/host.hpp"
#include "bindings/port_object.hpp"
#include "bindings/routines.hpp"
#include "bindings/types.hpp"
#include "run/wait.hpp"

namespace iocp::py {

Waited wait_for(const Types& types, run::Awaited& awaited, bool alertable, std::int64_t timeout) {
    Routines* routines = nullptr;
    if (alertable) {
        routines = Routines::of_this_thread();
        if (routines == nullptr) {
            return Waited::failed;
        }
    }
    KeepHost host;
    run::Waited waited;
    if (!attempted([&] { waited = run::Wait(host, awaited, routines, timeout).wait(); })) {
        return Waited::failed;
    }
    switch (waited.end) {
        case run::Waited::End::met:
            return Waited::met;
        case run::Waited::End::timed_out:
            return Waited::timed_out;
        case run::Waited::End::routines_ran:
            return Waited::routines_ran;
        case run::Waited::End::closed:
            raise(types, ErrorClass::argument, EBADF, "the event is closed");
            break;
        case run::Waited::End::failed:
            raise(static_cast<PortObject*>(waited.port.get()), types, waited.error);
            break;
    }
    return Waited::failed;
}

}  // namespace iocp::py
