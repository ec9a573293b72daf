#pragma once

#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "backend/linux/linux_backend.hpp"

struct epoll_event;

namespace iocp {

// Turns readiness into completions. Every socket is registered once, edge-triggered. An edge makes
// the core start the operation again, and that start attempts it.
class EpollBackend final : public LinuxBackend {
public:
    static std::unique_ptr<EpollBackend> create(BackendReason& why);
    ~EpollBackend() override;
    EpollBackend(const EpollBackend&) = delete;
    EpollBackend& operator=(const EpollBackend&) = delete;

    [[nodiscard]] std::string_view name() const noexcept override { return "epoll"; }
    [[nodiscard]] Capabilities capabilities() const noexcept override { return {}; }

    void detach(Socket& socket) override;
    void close(Socket& socket) override;
    StartResult start(Operation& op, unsigned count) override;
    void cancel(Operation& op) override;
    void take_cancelled(std::vector<Packet>& out) override;
    int withdraw(Operation& op) override;
    // Any thread may run this backend, one at a time.
    Error claim() override { return waiting_ ? runs_elsewhere : Error{}; }
    void publish() override;
    void wait(std::int64_t timeout_ns) override;
    void reap(std::vector<Packet>& out) override;
    [[nodiscard]] bool locks_memory() const noexcept override { return false; }
    [[nodiscard]] std::uint32_t kernel_locked(const Operation&) const noexcept override {
        return 0;
    }

private:
    EpollBackend();
    int watch(Socket& socket);
    int add(Socket& socket);
    int add_duplicate(const Socket& socket);
    [[nodiscard]] int add_number(const Socket& socket, int fd) noexcept;
    void remove_number(int fd) noexcept;
    void forget(Socket& socket) noexcept;
    StartResult send_file(Operation& op);
    void edge(std::uint32_t mask, Socket& socket, std::vector<Packet>& out);

    int epoll_fd_{-1};
    std::unique_ptr<epoll_event[]> events_;
    int event_count_{0};
    bool waiting_{false};              // set between publish() and reap()
    bool answered_{false};             // packets are ready, so that the next wait returns at once
    std::vector<Socket*> registered_;  // by the socket's slot
    // The latest watched socket that was registered under each descriptor number. epoll forgets a
    // file with its last descriptor. So the caller may have closed the number, and another file may
    // have it. A later registration under the number shows that.
    std::unordered_map<int, SlotId> watches_;
    // Duplicates of descriptors whose own number was registered already, by the socket's slot.
    std::unordered_map<std::uint32_t, int> duplicates_;
    // Packets for the next reap(): ends of cancelled operations, and file sends that continue.
    std::vector<Packet> answers_;
};

}  // namespace iocp
