#pragma once

#include <memory>
#include <string>
#include <vector>

#include "backend/windows/completion_port.hpp"
#include "backend/windows/interrupt_wait.hpp"
#include "backend/windows/listeners.hpp"
#include "backend/windows/members.hpp"
#include "backend/windows/open_cancels.hpp"
#include "backend/windows/pipe.hpp"
#include "backend/windows/readiness_waits.hpp"
#include "backend/windows/request.hpp"
#include "backend/windows/windows_backend.hpp"

namespace iocp {

class CallBuffers;

// The backend over a completion port of Windows. A request that finishes at once leaves no packet
// if the socket's provider allows that (FILE_SKIP_COMPLETION_PORT_ON_SUCCESS).
class IocpBackend final : public WindowsBackend {
public:
    static std::unique_ptr<IocpBackend> create(const Winsock& winsock,
                                               const BackendOptions& options, std::string& reason);
    ~IocpBackend() override;
    IocpBackend(const IocpBackend&) = delete;
    IocpBackend& operator=(const IocpBackend&) = delete;

    [[nodiscard]] std::string_view name() const noexcept override { return "iocp"; }
    [[nodiscard]] Capabilities capabilities() const noexcept override {
        return {.busy = ReceiveStrategy::direct, .start_reads = true};
    }

    int shutdown(Socket& socket, bool receiving, bool sending) override;
    void detach(Socket& socket) override;
    void close(Socket& socket) override;

    StartResult attempt(Operation& op, unsigned count) override;
    StartResult start(Operation& op, unsigned count) override;
    void cancel(Operation& op) override;
    void take_cancelled(std::vector<Packet>& out) override;
    int withdraw(Operation& op) override;
    void conclude(Operation& op, Packet& packet) override;
    StartResult read(Socket& socket, std::byte* data, std::size_t length) override;
    StartResult read_from(Socket& socket, std::byte* data, std::size_t length,
                          Address& from) override;

    // Any thread may run this backend, one at a time, because the requests of a socket that has
    // joined a completion port outlive their thread.
    Error claim() override { return waiting_ ? runs_elsewhere : Error{}; }
    void publish() override;
    void wait(std::int64_t timeout_ns) override;
    void reap(std::vector<Packet>& out) override;
    void wake() noexcept override { port_.wake(); }
    void wake_on(void* event) override { interrupt_.set_event(event); }

    [[nodiscard]] std::size_t internal_bytes() const noexcept override {
        return listeners_.internal_bytes();
    }

private:
    IocpBackend(const Winsock& winsock, const BackendOptions& options)
        : WindowsBackend(winsock),
          listeners_(winsock_, requests_, members_, options.posted_accepts) {}

    // Returns the caller's flags for a receive, without MSG_WAITALL. Non-blocking calls refuse that
    // flag, and the core continues the receive by itself.
    static DWORD receive_flags(const Operation& op) noexcept {
        return static_cast<DWORD>(op.flags) & ~static_cast<DWORD>(MSG_WAITALL);
    }
    // Returns whether a send on the socket may be started. Wine 8.0 keeps a send on a listening
    // socket pending for ever.
    static bool can_send(const Socket& socket) noexcept {
        return socket.connected || !socket.stream;
    }

    // Functions that start the requests of operations (iocp_requests.cpp, iocp_disconnect.cpp,
    // iocp_file.cpp).
    Request* new_request(Operation& op) noexcept;
    StartResult started(Operation& op, Request& request, bool at_once, DWORD bytes);
    StartResult receive(Operation& op);
    StartResult look(Operation& op);
    StartResult watch(Operation& op);
    StartResult send(Operation& op, unsigned count);
    StartResult connect(Operation& op);
    int connected(SOCKET socket) const noexcept;
    StartResult disconnect(Operation& op);
    StartResult send_file(Operation& op);
    StartResult wait_until_ready(Operation& op);
    StartResult start_again(const Operation& op);

    // Pipes (iocp_pipes.cpp), and other objects, which are watched (iocp_objects.cpp).
    StartResult attempt_on_pipe(Operation& op);
    StartResult start_on_pipe(Operation& op);
    StartResult read_pipe_now(const Operation& op);
    StartResult read_pipe(Operation& op);
    StartResult write_pipe(Operation& op);
    static void packet_of_pipe(Member& member, const Request& request, DWORD bytes,
                               std::vector<Packet>& out);
    static StartResult attempt_on_object(const Operation& op);
    StartResult wait_for_object(Operation& op);

    // Functions for calls that do not wait (iocp_attempts.cpp), and for the Winsock calls that
    // requests and such calls share (iocp_messages.cpp).
    StartResult receive_now(Operation& op);
    StartResult send_now(Operation& op, unsigned count);
    StartResult accept_now(Operation& op);
    StartResult before_error(const Socket& socket, const StartResult& result) noexcept;
    int call_receive(Operation& op, CallBuffers& buffers, DWORD flags, DWORD& bytes,
                     OVERLAPPED* overlapped) const noexcept;
    int call_send(const Operation& op, CallBuffers& buffers, DWORD& bytes,
                  OVERLAPPED* overlapped) const noexcept;
    static void take_sender(Operation& op) noexcept;

    // Functions of the turn (iocp_backend.cpp).
    void leave(const Socket& socket);
    void end(const Member& member, Request& request) noexcept;
    void ask(const Member& member, Request& request) const noexcept;
    void take_packets(std::vector<Packet>& out);
    void complete(const OVERLAPPED_ENTRY& entry, std::vector<Packet>& out);
    static int failure_of(const Member& member, Request& request) noexcept;
    void packet_of(Member& member, Request& request, DWORD bytes, std::vector<Packet>& out);

    // Declared before `port_`, so that no request is freed before the handle of the completion port
    // is closed.
    RequestPool requests_;
    CompletionPort port_;
    ReadinessWaits readiness_{winsock_, port_};
    PipeReader pipe_reader_{winsock_};
    Members members_{winsock_, port_};
    Listeners listeners_;
    InterruptWait interrupt_{port_};
    OpenCancels cancels_;
    // The maximum time of the next wait, set by publish(): 0 if answers wait for reap(), the pause
    // before a repetition if cancels are open, and -1 for no limit otherwise.
    std::int64_t max_wait_ns_{-1};
    bool waiting_{false};          // set between publish() and reap()
    std::vector<Packet> answers_;  // packets for the next reap()
};

}  // namespace iocp
