#pragma once

#include <cstdint>

#include "core/buffer.hpp"
#include "core/error.hpp"
#include "core/operation.hpp"
#include "core/socket.hpp"
#include "core/timer.hpp"

namespace iocp {

// One thing to hand to the application. The operation, and a closed socket, are retired only after
// it has been handed out.
struct Ready {
    enum class What : std::uint8_t {
        completed,     // `op` finished
        data,          // `slice` arrived for the subscription of `socket`; empty: end of stream
        datagram,      // the same of one datagram, which sender_of(slice) sent
        accepted,      // `accepted` arrived for the subscription of `socket`
        item_error,    // one accept or datagram failed with `error`; the subscription stands
        closed,        // `socket` is closed; socket->failure says whether an error did it
        pause_sends,   // the bytes queued to send on `socket` passed its high mark
        resume_sends,  // and fell to its low one
        resumed,       // take_withheld() has what a pause of `socket` kept
        timer,         // `timer` fired; its target is null if it was cancelled since
        packet,        // `user` was posted
        nagle_stall,   // sends of some socket wait for delayed acknowledgements; told once
    };
    What what{What::completed};
    Operation* op{nullptr};
    Socket* socket{nullptr};
    Socket* accepted{nullptr};
    Timer* timer{nullptr};
    void* user{nullptr};
    Error error;
    Slice slice;

    // Whether it is one of the results of a subscription, or what follows the last of them: all
    // that a paused reader does not get.
    [[nodiscard]] bool of_subscription() const noexcept {
        switch (what) {
            case What::data:
            case What::datagram:
            case What::accepted:
            case What::item_error:
            case What::closed:
                return true;
            case What::completed:
                return op->subscription();
            default:
                return false;
        }
    }
};

}  // namespace iocp
