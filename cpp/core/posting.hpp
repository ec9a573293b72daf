#pragma once

#include <cstddef>
#include <cstdint>

#include "core/io_queue.hpp"
#include "core/port_options.hpp"

namespace iocp {

// Handles a post (R01, R06): checks the operation, tries it without waiting, charges it, and adds
// it to its lane. IoQueue then starts it.
class Posting {
public:
    Posting(Backend& backend, Calls& calls, Sockets& sockets, Admission& admission, SendFlow& flow,
            CompletionQueue& completions, Timers& timers, Endings& endings, IoQueue& queue,
            Worklist& work, std::size_t max_datagram)
        : backend_(backend),
          calls_(calls),
          sockets_(sockets),
          admission_(admission),
          flow_(flow),
          completions_(completions),
          timers_(timers),
          endings_(endings),
          queue_(queue),
          work_(work),
          max_datagram_(max_datagram) {}

    // Accepts the operation, or returns an error and leaves the operation to the caller. A negative
    // timeout means none.
    Error submit(Operation& op, std::int64_t timeout);
    // Receive or send without waiting. They do nothing if an earlier post in the same direction is
    // unfinished. `got` is -1 if nothing was received, and 0 at the end of the stream. `went` is
    // the number of bytes sent.
    Error try_receive(Socket& socket, std::byte* data, std::size_t length, std::int64_t& got);
    Error try_send(Socket& socket, const std::byte* data, std::size_t length, std::int64_t& went);

private:
    [[nodiscard]] Error check(const Operation& op) const noexcept;
    [[nodiscard]] Error check_connection(const Operation& op) const noexcept;
    [[nodiscard]] Error check_sending(const Operation& op) const noexcept;
    [[nodiscard]] Error check_receiving(const Operation& op) const noexcept;
    [[nodiscard]] Error check_subscription(const Operation& op) const noexcept;
    Error attempt(Operation& op, bool& done);
    Error refused(const Operation& op, int code) noexcept;
    [[nodiscard]] Error end_met(const Operation& op) noexcept;

    Backend& backend_;
    Calls& calls_;
    Sockets& sockets_;
    Admission& admission_;
    SendFlow& flow_;
    CompletionQueue& completions_;
    Timers& timers_;
    Endings& endings_;
    IoQueue& queue_;
    Worklist& work_;
    std::size_t max_datagram_;  // maximum bytes that a subscription to datagrams may ask for
};

}  // namespace iocp
