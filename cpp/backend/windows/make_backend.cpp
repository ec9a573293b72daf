#include "backend/sim/sim_backend.hpp"
#include "backend/windows/iocp_backend.hpp"

namespace iocp {

std::unique_ptr<Backend> make_backend(std::string_view name, BufferPool& /*pool*/,
                                      const BackendOptions& options, BackendReason& why) {
    std::string& reason = why.text;
    if (options.world != nullptr) {
        return sim::make_backend(options.world, reason);
    }
    if (name != "iocp" && name != "auto") {
        reason = "unknown backend; this platform has 'iocp'";
        return nullptr;
    }
    const Winsock* winsock = Winsock::system(reason);
    if (winsock == nullptr) {
        return nullptr;
    }
    auto made = IocpBackend::create(*winsock, options, reason);
    if (made != nullptr) {
        reason = name == "auto" ? "the completion port of Windows" : "asked for";
    }
    return made;
}

std::vector<Surveyed> survey_backends() {
    Surveyed found;
    found.name = "iocp";
    const Winsock* winsock = Winsock::system(found.state);
    if (winsock != nullptr && IocpBackend::create(*winsock, {}, found.state) != nullptr) {
        found.state = "ok";
        found.features = winsock->extensions();
    }
    return {found};
}

}  // namespace iocp
