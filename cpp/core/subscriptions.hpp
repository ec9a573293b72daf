#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "core/admission.hpp"
#include "core/cancels.hpp"
#include "core/port_options.hpp"
#include "core/read_space.hpp"
#include "core/standing.hpp"

namespace iocp {

// The subscriptions that receive: every message of a stream, or every datagram with its sender
// (R11-R13). Each receives by its strategy, reads only its share of a turn, and may be paused
// (R37).
class Subscriptions {
public:
    Subscriptions(const PortOptions& options, const Capabilities& capabilities, Backend& backend,
                  Calls& calls, BufferPool& pool, Admission& admission, Cancels& cancels,
                  Standing& standing, CompletionQueue& completions, Timers& timers,
                  Metrics& metrics, Worklist& work, SlotTable<Operation>& operations)
        : options_(options),
          capabilities_(capabilities),
          backend_(backend),
          calls_(calls),
          pool_(pool),
          admission_(admission),
          cancels_(cancels),
          standing_(standing),
          completions_(completions),
          timers_(timers),
          metrics_(metrics),
          work_(work),
          operations_(operations),
          space_(pool) {}

    // Posts a buffer or begins a readiness wait, by the strategy, and delivers data that is there
    // already.
    void start(Socket& socket, Operation& op);
    // Continues a subscription that had more to read than one turn allows.
    void go_on(Socket& socket, Operation& op);
    // Handles a packet of the request in the kernel.
    void complete(Socket& socket, Operation& op, Packet& packet);

    // Begins a turn, in which every socket may be drained once.
    void begin_turn() noexcept {
        drained_bytes_ = 0;
        ++turn_number_;
    }
    // Counts the turns, modulo 2^32.
    [[nodiscard]] std::uint32_t turn_number() const noexcept { return turn_number_; }
    // Returns whether the turn may read more. A turn reads no more than fits the CPU's cache,
    // because its messages are handed out and answered before the next read.
    [[nodiscard]] bool turn_has_room() const noexcept { return drained_bytes_ < turn_bytes; }

    // Changes the strategy of a stream's subscription; std::nullopt stands for adaptive.
    Error set_strategy(Socket& socket, std::optional<ReceiveStrategy> strategy) noexcept;
    // Changes quiet adaptive subscriptions to zero-byte waits, which need no memory. If the budget
    // is tight, changes all adaptive subscriptions.
    void cool_down() noexcept;

    // Pause and resume the socket's subscription. While it is paused it starts no request, and
    // results that still arrive are kept. Each returns whether it changed something.
    bool pause(Socket& socket) noexcept;
    bool resume(Socket& socket) noexcept;

    // Releases the region that drains read into, at the port's end.
    void release_space() noexcept { space_.release(); }

private:
    static constexpr std::size_t turn_bytes = std::size_t{256} << 10U;

    void complete_data(Socket& socket, Operation& op, Packet& packet);
    void fail_request(Socket& socket, Operation& op, int code) noexcept;
    [[nodiscard]] bool lease_block(Operation& op) noexcept;
    void drop_block(Operation& op) noexcept;
    void start_again(Socket& socket, Operation& op);
    void drain(Socket& socket, Operation& op);
    void drain_stream(Socket& socket, Operation& op);
    void drain_datagrams(Socket& socket, Operation& op);
    [[nodiscard]] Slice datagram(std::byte* at, std::size_t length) const noexcept;
    void deliver(Socket& socket, Operation& op, Slice slice) noexcept;
    void deliver_block(Socket& socket, Operation& op, std::size_t length) noexcept;
    void end_of_stream(Socket& socket, Operation& op) noexcept;
    [[nodiscard]] bool adapt(Operation& op, std::size_t bytes, bool multishot) const noexcept;
    void restart(Socket& socket, Operation& op, ReceiveStrategy strategy) noexcept;
    void note_busy(Socket& socket, Operation& op) noexcept;

    const PortOptions& options_;
    const Capabilities& capabilities_;
    Backend& backend_;
    Calls& calls_;
    BufferPool& pool_;
    Admission& admission_;
    Cancels& cancels_;
    Standing& standing_;
    CompletionQueue& completions_;
    Timers& timers_;
    Metrics& metrics_;
    Worklist& work_;
    SlotTable<Operation>& operations_;
    ReadSpace space_;
    std::size_t drained_bytes_{0};  // bytes read in this turn
    std::uint32_t turn_number_{1};  // the number of the turn, which drained sockets store
    std::vector<SlotId> busy_;      // adaptive subscriptions whose strategy is not zero_byte
    Timer* cooling_{nullptr};       // armed while a subscription is busy
};

}  // namespace iocp
