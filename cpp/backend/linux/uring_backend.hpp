#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <unordered_set>
#include <utility>
#include <vector>

#include "backend/linux/exact_waits.hpp"
#include "backend/linux/linux_backend.hpp"
#include "backend/linux/ring.hpp"
#include "backend/linux/slot_set.hpp"
#include "backend/linux/standing_receives.hpp"

struct iovec;

namespace iocp {

// A thread that has issued to a ring. Threads are told apart by this object, for the kernel gives
// the id of one that has ended to another.
struct IssuingThread {
    explicit IssuingThread(int kernel_id) noexcept : id(kernel_id) {}

    const int id;
    std::atomic<bool> ended{false};  // it may be on its way out of the kernel still
};

// Completions from the kernel itself. One thread issues, or, of a shared one, any that makes a
// turn; others fill entries under the port's lock and wake it. Each request's name in the kernel is
// its operation's slot and generation.
class UringBackend final : public LinuxBackend {
public:
    // `patient`: waits a while for what rings that are closed had locked.
    static std::unique_ptr<UringBackend> create(BufferPool& pool, const BackendOptions& options,
                                                bool patient, BackendReason& why);
    ~UringBackend() override;
    UringBackend(const UringBackend&) = delete;
    UringBackend& operator=(const UringBackend&) = delete;

    [[nodiscard]] std::string_view name() const noexcept override { return "uring"; }
    [[nodiscard]] bool holds_requests() const noexcept override {
        return enabled_ && ring_->is_open();
    }
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
    [[nodiscard]] bool claimable() const noexcept override;
    bool took_over() noexcept override { return std::exchange(took_over_, false); }
    void publish() override;
    void wait(std::int64_t timeout_ns) override;
    void reap(std::vector<Packet>& out) override;
    void wake() noexcept override;
    bool send_direct(Socket& socket, bool on) override;
    Error pin(std::byte* data, std::size_t length) override;
    bool unpin(std::byte* data) override;
    [[nodiscard]] bool locks_memory() const noexcept override { return asked_direct_; }
    [[nodiscard]] std::uint32_t kernel_locked(const Operation& op) const noexcept override;

private:
    // A region the kernel fills from the front; `used` bytes of it are messages already.
    struct Posted {
        Region* region{nullptr};
        std::size_t used{0};
    };
    static constexpr std::uint16_t buffer_group = 0;  // of the ring of regions
    static constexpr std::size_t buffer_slots = 8;
    static constexpr std::size_t regions_posted = 2;

    UringBackend(BufferPool& pool, const BackendOptions& options)
        : pool_(pool), entries_(options.ring_entries), shared_(options.shared) {}
    [[nodiscard]] bool is_owner() const noexcept;
    int open_ring(std::string& reason);
    int open_ring_in_time(std::string& reason);
    Error claim_ring();
    Error take_over();
    void drop_buffers() noexcept;
    StartResult start_request(Operation& op, unsigned count);
    void post_missing_regions() noexcept;
    bool provide_buffers();
    [[nodiscard]] bool supports(std::uint8_t opcode) const;
    void post_region(std::uint16_t slot);
    Slice take_received(std::uint32_t flags, std::int32_t length);
    void push(const uring::Sqe& entry);
    void cancel(std::uint64_t name);
    void push_cancel(std::uint64_t name);
    void cancel_again();
    StartResult poll(Operation& op, std::uint32_t events, std::uint64_t tag);
    [[nodiscard]] std::uint64_t user_data_of(Operation& op, std::uint64_t tag);
    void send(Operation& op, unsigned count);
    [[nodiscard]] int make_pin_table() const noexcept;
    [[nodiscard]] int update_pin(std::size_t slot) const noexcept;
    [[nodiscard]] bool restore_pins() noexcept;
    [[nodiscard]] int pin_of(const std::byte* data, std::size_t length) const noexcept;
    StartResult send_hot(Operation& op, unsigned count);
    StartResult send_datagram(Operation& op);
    StartResult receive_aside(Operation& op);
    [[nodiscard]] int pending_error(Socket& socket);
    void receive(Operation& op);
    void receive_message(Operation& op, uring::Sqe& entry);
    StartResult send_file(Operation& op);
    StartResult checked(const Socket& socket, const StartResult& result) noexcept;
    void arm_wake();
    void collect(std::vector<Packet>& out);
    void completion(const uring::Cqe& cqe, std::vector<Packet>& out) noexcept;
    [[nodiscard]] std::byte* scratch(std::size_t bytes);

    BufferPool& pool_;
    std::unique_ptr<uring::Ring> ring_;
    unsigned entries_;
    bool shared_;
    int wake_fd_{-1};
    bool enabled_{false};
    bool expects_more_{false};  // the kernel can wait for several completions, but not for long
    unsigned queued_sends_{0};  // since the last publish()
    unsigned new_sends_{0};     // submitted by the next wait()
    bool waiting_{false};       // between publish() and reap()
    std::shared_ptr<IssuingThread> owner_;  // the ring's issuer; none yet
    bool took_over_{false};
    std::vector<Packet> carried_;  // what the ring of a thread that is gone had still to say
    unsigned to_submit_{0};
    // The next wait must not last: the kernel took less than there was, or a receive is in doubt.
    bool must_return_{false};
    std::vector<uring::Sqe> backlog_;  // behind a full submission queue, in order
    bool multishot_{false};
    StandingReceives standing_;
    ExactWaits exact_waits_;
    // By a peer that shut down its side, or an error that stands: to be polled for exactly.
    SlotSet woken_for_nothing_;
    SlotSet would_block_;  // started again only when they are ready
    SlotSet in_kernel_;    // operations whose request is not over; it may be in the backlog yet
    // Requests that were asked to end, until they have. The kernel does not find one whose wake-up
    // is under way, so who was refused is asked again after a while.
    std::unordered_set<std::uint64_t> cancels_;
    bool cancel_refused_{false};       // by the kernel, or for want of memory
    bool wake_lost_{false};            // there was no memory to wait for wake() again
    std::int64_t cancelled_again_{0};  // when
    int buffer_ring_code_{0};          // why the kernel took no ring of regions
    bool sends_direct_{false};
    bool asked_direct_{false};  // some socket has ever sent directly: memory may be locked
    uring::Buf* buffer_ring_{nullptr};
    std::uint16_t buffer_tail_{0};
    std::array<Posted, buffer_slots> posted_{};
    // Memory registered with the ring, by the kernel's index; made known to a new ring as well.
    struct Pin {
        std::byte* data{nullptr};
        std::size_t length{0};
    };
    static constexpr std::size_t most_pins = 64;
    std::vector<Pin> pins_;
    // Message headers of unsubmitted sends: the kernel reads them when it takes the entry.
    std::vector<std::unique_ptr<std::byte[]>> scratch_;
    std::size_t scratch_block_{0};
    std::size_t scratch_used_{0};
};

}  // namespace iocp
