#pragma once

#include <array>
#include <atomic>
#include <memory>
#include <string>
#include <vector>

#include "backend/backend.hpp"
#include "backend/windows/listener.hpp"
#include "backend/windows/request.hpp"
#include "backend/windows/winsock.hpp"

namespace iocp {

class CallBuffers;

// The completion port of Windows. A socket joins it with its first request. A request that finishes
// at once leaves no packet where the provider allows that (FILE_SKIP_COMPLETION_PORT_ON_SUCCESS).
class IocpBackend final : public Backend {
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

    int open(int family, int type, int protocol, Handle& out) override;
    int describe(Handle handle, Socket& out) override;
    int bind(Socket& socket, const Address& address) override;
    int listen(Socket& socket, int backlog) override;
    int name_of(const Socket& socket, bool peer, Address& out) override;
    int get_option(const Socket& socket, int level, int option, void* value,
                   std::size_t& length) override;
    int set_option(const Socket& socket, int level, int option, const void* value,
                   std::size_t length) override;
    [[nodiscard]] Nagle nagle(const Socket& socket) noexcept override;
    int shutdown(Socket& socket, bool receiving, bool sending) override;
    void reset_on_close(Socket& socket) override;
    void detach(Socket& socket) override;
    void close(Socket& socket) override;

    StartResult attempt(Operation& op, unsigned count) override;
    bool send_direct(Socket& socket, bool on) override;
    StartResult start(Operation& op, unsigned count) override;
    void cancel(Operation& op) override;
    int withdraw(Operation& op) override;
    void conclude(Operation& op, Packet& packet) override;
    StartResult read_from(Socket& socket, std::byte* data, std::size_t length,
                          Address& from) override;
    StartResult read(Socket& socket, std::byte* data, std::size_t length) override;
    [[nodiscard]] std::uint64_t bytes_taken(const Socket& socket) noexcept override;
    bool drained(Socket& socket) noexcept override;
    [[nodiscard]] std::int32_t flags_taken(const Socket& socket,
                                           bool sending) const noexcept override;
    [[nodiscard]] bool waits_for_all(std::int32_t flags) const noexcept override;
    std::int64_t available(Socket& socket) override;

    // Any thread may wait, one at a time: requests of an attached socket outlive their thread.
    Error claim() override { return waiting_ ? runs_elsewhere : Error{}; }
    void publish() override;
    void wait(std::int64_t timeout_ns) override;
    void reap(std::vector<Packet>& out) override;
    void wake() noexcept override;
    void wake_on(void* event) override { interrupt_.event = event; }
    [[nodiscard]] std::int64_t now() const noexcept override;

    [[nodiscard]] std::uint32_t kernel_locked(const Operation& op) const noexcept override;
    [[nodiscard]] std::size_t internal_bytes() const noexcept override;
    [[nodiscard]] bool fatal(const Operation& op, int code) const noexcept override;
    [[nodiscard]] bool ends_sending(int code) const noexcept override;
    [[nodiscard]] bool exhausted(int code) const noexcept override;
    [[nodiscard]] std::int64_t cancel_code() const noexcept override;
    [[nodiscard]] int memory_code() const noexcept override;
    [[nodiscard]] bool cancelled(int code) const noexcept override;

private:
    // Returns the caller's flags for a receive, never with MSG_WAITALL. Calls that must not wait
    // refuse it, and the core continues the receive by itself.
    static DWORD receive_flags(const Operation& op) noexcept {
        return static_cast<DWORD>(op.flags) & ~static_cast<DWORD>(MSG_WAITALL);
    }

    // The keys of packets that do not belong to a socket.
    static constexpr ULONG_PTR wake_key = ~ULONG_PTR{0};
    static constexpr ULONG_PTR afd_key = wake_key - 1;
    static constexpr ULONG_PTR announced_key = wake_key - 2;
    static constexpr std::size_t entries_per_wait = 64;

    // The port's knowledge of a socket that has joined it, by the socket's slot.
    struct Member {
        SOCKET socket{INVALID_SOCKET};
        SlotId id;
        Request* receiving{nullptr};  // the lane's request in the kernel
        Request* sending{nullptr};
        int pending_error{0};  // found by a readiness wait; the following read returns it
        bool skips{false};     // a request that finishes at once leaves no packet
        bool stream{false};
        // The program has shut the socket down for receiving. Waiting receives end with the end of
        // the stream.
        bool deaf{false};
    };

    // Ctrl-C. The event stays set until it is reset, so the registered wait runs only once.
    struct Interrupt {
        HANDLE event{nullptr};
        HANDLE registration{nullptr};
        std::atomic<bool> seen{false};
    };

    IocpBackend(const Winsock& winsock, const BackendOptions& options, HANDLE port);

    void await_interrupt();
    static void CALLBACK interrupted(void* self, BOOLEAN timed_out);
    int join(Socket& socket);
    void leave(const Socket& socket);
    Member* member_of(SlotId socket) noexcept;
    int pending_error(const Socket& socket) noexcept;
    StartResult before_error(const Socket& socket, const StartResult& result) noexcept;
    Request* new_request(Operation& op) noexcept;
    StartResult started(Operation& op, Request& request, bool at_once, DWORD bytes);
    StartResult receive(Operation& op);
    StartResult look(Operation& op);
    StartResult watch(Operation& op);
    int call_receive(Operation& op, CallBuffers& buffers, DWORD flags, DWORD& bytes,
                     OVERLAPPED* overlapped) const noexcept;
    int call_send(const Operation& op, CallBuffers& buffers, DWORD& bytes,
                  OVERLAPPED* overlapped) const noexcept;
    static void take_sender(Operation& op) noexcept;
    // Wine 8.0 keeps a send on a listening socket for ever.
    static bool can_send(const Socket& socket) noexcept {
        return socket.connected || !socket.stream;
    }
    StartResult send(Operation& op, unsigned count);
    StartResult connect(Operation& op);
    StartResult disconnect(Operation& op);
    StartResult send_file(Operation& op);
    StartResult wait_for_room(Operation& op);
    int open_afd();
    void end(const Member& member, Request& request) noexcept;
    void repeat_cancels() noexcept;
    StartResult accept(Operation& op);
    StartResult accept_now(Operation& op);
    static Address peer_of(SOCKET socket) noexcept;
    StartResult receive_now(Operation& op);
    StartResult send_now(Operation& op, unsigned count);
    int own(SOCKET socket) noexcept;

    int post_accepts(Listener& listener);
    int post_accept(Listener& listener);
    void accept_finished(Listener& listener, Request& request, int code);
    Listener* listener_of(SlotId socket) noexcept;
    void accept_packet(Listener& listener, Request& request, std::vector<Packet>& out);
    void end_listener(SlotId socket);
    void forget_listener(const Listener& listener);

    int connected(SOCKET socket) const noexcept;
    static int poll_failure(const Request& request) noexcept;
    static bool at_end(SOCKET socket) noexcept;
    static bool lost_with_its_thread(const Request& request) noexcept;
    static bool was_reset(SOCKET socket) noexcept;
    static StartResult checked(const Socket& socket, const StartResult& result) noexcept;
    int failure_of(SOCKET socket, Request& request) const noexcept;
    void packet_of(Member& member, Request& request, DWORD bytes, std::vector<Packet>& out);

    const Winsock winsock_;
    HANDLE port_;
    HANDLE afd_{INVALID_HANDLE_VALUE};  // opened by the first wait for room
    unsigned posted_accepts_;
    RequestPool requests_;
    std::vector<Member> members_;
    std::vector<std::unique_ptr<Listener>> listeners_;  // also closed ones, until their last packet
    std::array<OVERLAPPED_ENTRY, entries_per_wait> entries_{};
    ULONG entry_count_{0};
    Interrupt interrupt_;
    std::size_t open_cancels_{0};  // cancelled requests whose packet has not come
    std::int64_t repeat_at_{0};    // when to repeat them, by now(); meaningless while there is none
    // The limit of this wait, fixed by publish(): 0 while answers wait for reap(), the time to a
    // repetition while cancels are open, otherwise -1 for none.
    std::int64_t max_wait_ns_{-1};
    bool waiting_{false};          // between publish() and reap()
    std::vector<Packet> answers_;  // for the next reap()
};

}  // namespace iocp
