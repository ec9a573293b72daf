#pragma once

#include <memory>
#include <string>

#include "backend/backend.hpp"
#include "backend/sim/codes.hpp"
#include "backend/sim/world.hpp"

namespace iocp::sim {

// One port's share of a modelled world: its own machine and the machine's sockets.
class SimBackend final : public Backend {
public:
    explicit SimBackend(std::shared_ptr<World> world);
    ~SimBackend() override;
    SimBackend(const SimBackend&) = delete;
    SimBackend& operator=(const SimBackend&) = delete;

    [[nodiscard]] std::string_view name() const noexcept override { return "sim"; }
    [[nodiscard]] Capabilities capabilities() const noexcept override;

    int open(int family, int type, int protocol, Handle& out) override;
    int describe(Handle handle, Socket& out) override;
    int describe_watched(Handle /*handle*/, Socket& /*out*/) override { return code_not_here; }
    int bind(Socket& socket, const Address& address) override;
    int listen(Socket& socket, int backlog) override;
    int name_of(const Socket& socket, bool peer, Address& out) override;
    int get_option(const Socket& socket, int level, int option, void* value,
                   std::size_t& length) override;
    int set_option(const Socket& socket, int level, int option, const void* value,
                   std::size_t length) override;
    int shutdown(Socket& socket, bool receiving, bool sending) override;
    [[nodiscard]] Nagle nagle(const Socket& socket) noexcept override;
    bool send_direct(Socket& socket, bool on) override;
    void reset_on_close(Socket& socket) override;
    void detach(Socket& socket) override;
    void close(Socket& socket) override;

    [[nodiscard]] std::int32_t flags_taken(const Socket& socket,
                                           bool sending) const noexcept override;
    [[nodiscard]] bool waits_for_all(std::int32_t flags) const noexcept override;
    StartResult attempt(Operation& op, unsigned count) override;
    StartResult start(Operation& op, unsigned count) override;
    void cancel(Operation& op) override;
    StartResult read(Socket& socket, std::byte* data, std::size_t length) override;
    [[nodiscard]] std::uint64_t bytes_taken(const Socket& socket) noexcept override;
    bool drained(Socket& socket) noexcept override;
    std::int64_t available(Socket& socket) override;

    Error claim() override { return waiting_ ? runs_elsewhere : Error{}; }
    void publish() override { waiting_ = true; }
    void wait(std::int64_t timeout_ns) override;
    void reap(std::vector<Packet>& out) override;
    void take_cancelled(std::vector<Packet>& out) override;
    void wake() noexcept override { world_->wake(machine_); }
    [[nodiscard]] bool nothing_due() const noexcept override { return nothing_due_; }
    [[nodiscard]] std::int64_t now() const noexcept override { return world_->stack.now(); }

    [[nodiscard]] std::uint32_t kernel_locked(const Operation& op) const noexcept override;
    [[nodiscard]] bool fatal(const Operation& op, int code) const noexcept override;
    [[nodiscard]] bool ends_sending(int code) const noexcept override;
    [[nodiscard]] bool exhausted(int code) const noexcept override;
    [[nodiscard]] std::int64_t cancel_code() const noexcept override;
    [[nodiscard]] int memory_code() const noexcept override;
    [[nodiscard]] bool cancelled(int code) const noexcept override;

private:
    // Calls body(Endpoint&) with the world's lock. Returns `otherwise` if no socket has the handle.
    template <class Result, class Body>
    Result with(Handle handle, Result otherwise, Body&& body) const {
        const World::Access access(*world_);
        Endpoint* endpoint = world_->stack.find(handle);
        return endpoint != nullptr ? body(*endpoint) : otherwise;
    }

    void take_due(std::vector<Packet>& out);

    std::shared_ptr<World> world_;
    Machine& machine_;
    bool waiting_{false};  // set between publish() and reap()
    bool nothing_due_{false};
};

std::unique_ptr<Backend> make_backend(std::shared_ptr<World> world, std::string& reason);

}  // namespace iocp::sim
