#pragma once

#include <cstdint>

#include "base/error.hpp"
#include "core/timer.hpp"
#include "ops/buffer.hpp"
#include "ops/operation.hpp"
#include "ops/socket.hpp"

namespace iocp {

// A record: one result to hand to the application. The slot of an operation or of a closed socket
// is freed only after its record was handed out.
struct Ready {
    enum class What : std::uint8_t {
        completed,  // `op` finished
        data,  // `slice` arrived for the subscription of `socket`; empty at the end of the stream
        datagram,  // a datagram in `slice` arrived, sent by sender_of(slice)
        // `accepted` arrived for the subscription of `socket`; `slice` has its peer's address,
        // unless memory was short.
        accepted,
        item_error,    // one accept or datagram failed with `error`; the subscription goes on
        closed,        // `socket` is closed; socket->failure is the error that closed it, if any
        ended,         // an error, socket->failure, has ended `socket`; its descriptor is open
        pause_sends,   // the bytes queued to send on `socket` passed its high mark
        resume_sends,  // the bytes queued to send on `socket` fell to its low mark
        resumed,       // take_withheld() returns the records that a pause of `socket` kept
        timer,         // `timer` fired; its target is null if it was cancelled since
        packet,        // the application posted `user`
        // Some socket's sends wait for delayed acknowledgements; reported once per port.
        nagle_stall,
    };
    What what{What::completed};
    Operation* op{nullptr};
    Socket* socket{nullptr};
    Socket* accepted{nullptr};
    Timer* timer{nullptr};
    void* user{nullptr};
    Error error;
    Slice slice;

    // Returns whether the record is a result of a subscription, its end, or the close of its
    // socket. The core keeps such a record while the socket's reading is paused.
    [[nodiscard]] bool of_subscription() const noexcept {
        switch (what) {
            case What::data:
            case What::datagram:
            case What::accepted:
            case What::item_error:
            case What::closed:
            case What::ended:
                return true;
            case What::completed:
                return op->subscription();
            default:
                return false;
        }
    }
};

}  // namespace iocp
