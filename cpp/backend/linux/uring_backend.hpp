#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "backend/linux/exact_waits.hpp"
#include "backend/linux/issuer.hpp"
#include "backend/linux/linux_backend.hpp"
#include "backend/linux/open_cancels.hpp"
#include "backend/linux/provided_regions.hpp"
#include "backend/linux/registered_buffers.hpp"
#include "backend/linux/request_name.hpp"
#include "backend/linux/ring.hpp"
#include "backend/linux/slot_set.hpp"
#include "backend/linux/standing_receives.hpp"
#include "backend/linux/submission.hpp"

namespace iocp {

// The io_uring backend. Only one thread, the issuer, enters the ring; a shared ring may be entered
// by any thread that makes a turn. Other threads fill in submission entries under the port's lock
// and wake the issuer.
class UringBackend final : public LinuxBackend {
public:
    // `patient`: if RLIMIT_MEMLOCK refuses the ring, create() tries again for a while, because
    // closed rings free their locked memory late.
    static std::unique_ptr<UringBackend> create(BufferPool& pool, const BackendOptions& options,
                                                bool patient, BackendReason& why);
    ~UringBackend() override;
    UringBackend(const UringBackend&) = delete;
    UringBackend& operator=(const UringBackend&) = delete;

    [[nodiscard]] std::string_view name() const noexcept override { return "uring"; }
    [[nodiscard]] bool holds_requests() const noexcept override { return ring_.enabled(); }
    [[nodiscard]] Capabilities capabilities() const noexcept override;

    StartResult attempt(Operation& op, unsigned count) override;
    StartResult start(Operation& op, unsigned count) override;
    void cancel(Operation& op) override;
    void take_cancelled(std::vector<Packet>& out) override;
    [[nodiscard]] bool cancelled(int code) const noexcept override;
    void conclude(Operation& op, Packet& packet) override;
    int swallowed_error(const Socket& socket) noexcept override;
    StartResult read(Socket& socket, std::byte* data, std::size_t length) override;
    Error claim() override;
    void release() noexcept override { released_ = issuer_.is_this_thread(); }
    [[nodiscard]] bool claimable() const noexcept override {
        return released_ || issuer_.may_be_this_thread();
    }
    bool took_over() noexcept override { return std::exchange(took_over_, false); }
    void publish() override;
    void wait(std::int64_t timeout_ns) override;
    void reap(std::vector<Packet>& out) override;
    bool send_direct(Socket& socket, bool on) override;
    Error pin(std::byte* data, std::size_t length) override {
        return registered_.add(data, length);
    }
    bool unpin(std::byte* data) override { return registered_.remove(data); }
    [[nodiscard]] bool locks_memory() const noexcept override { return asked_direct_; }
    [[nodiscard]] std::uint32_t kernel_locked(const Operation& op) const noexcept override;

private:
    UringBackend(BufferPool& pool, const BackendOptions& options)
        : entries_(options.ring_entries), shared_(options.shared), regions_(ring_, pool) {}
    // Functions for the ring and its thread (uring_backend.cpp).
    int open_ring(std::string& reason);
    int open_ring_in_time(std::string& reason);
    [[nodiscard]] bool supports(std::uint8_t opcode) const;
    Error claim_ring();
    Error take_over();
    void end_requests() noexcept;

    // Functions that start the requests of operations (uring_requests.cpp).
    StartResult start_request(Operation& op, unsigned count);
    // Notes that a request of the operation goes to the kernel. Returns the user_data of the
    // request.
    [[nodiscard]] std::uint64_t begin(Operation& op, RequestKind kind);
    StartResult poll(Operation& op, std::uint32_t events, RequestKind kind);
    void send(Operation& op, unsigned count);
    StartResult send_hot(Operation& op, unsigned count);
    StartResult send_datagram(Operation& op);
    StartResult send_file(Operation& op);
    void receive(Operation& op);
    void receive_message(Operation& op, uring::Sqe& entry);
    StartResult receive_notified(Operation& op);
    StartResult checked(const Socket& socket, const StartResult& result) noexcept;
    [[nodiscard]] int pending_error(Socket& socket);

    // Functions of the turn (uring_backend.cpp).
    void cancel(std::uint64_t name);
    void push_cancel(std::uint64_t name);
    void arm_wake();
    void collect(std::vector<Packet>& out);
    void completion(const uring::Cqe& cqe, std::vector<Packet>& out) noexcept;

    // The options of each ring of this backend. A thread that takes over makes a new ring.
    const unsigned entries_;
    const bool shared_;
    // The destructor closes the ring before the members below end, because requests in the ring
    // hold addresses of their memory.
    uring::Ring ring_;
    // Every submission entry goes through this member, so that no entry overtakes another.
    Submission submission_{ring_};
    // The thread that enabled the ring. A shared ring has none.
    Issuer issuer_;
    // The issuer lets another thread take over while it lives.
    bool released_{false};
    // A take-over has ended every request, and took_over() has not reported it yet.
    bool took_over_{false};
    // The packets that were left in the ring of an ended thread. The next reap() returns them.
    std::vector<Packet> carried_;

    ProvidedRegions regions_;
    // Whether the first ring had provided regions. If so, a take-over waits until RLIMIT_MEMLOCK
    // has room for them again.
    bool had_regions_{false};
    RegisteredBuffers registered_{ring_};
    // Whether the kernel has zero-copy sends.
    bool sends_direct_{false};
    // Whether any socket was ever set to send directly, so that the kernel may lock memory.
    bool asked_direct_{false};

    // The operations whose request has not ended, even if the request still waits because the ring
    // was full. A lane has at most one request.
    SlotSet in_kernel_;
    // The operations whose request failed with EAGAIN, because another holder made the file
    // non-blocking. Their next start waits for readiness.
    SlotSet would_block_;
    StandingReceives standing_;
    ExactWaits exact_waits_;
    OpenCancels cancels_;

    // True between publish() and reap(), while a thread may wait without the port's lock.
    bool waiting_{false};
    // The next wait must return at once: entries are left to submit, data may have arrived that a
    // multishot receive did not report, or wake() could not end the wait.
    bool must_return_{false};
    // The kernel has ended the poll that wake() relies on, and no new poll is armed yet.
    bool wake_lost_{false};
};

}  // namespace iocp
