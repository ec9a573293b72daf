#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

namespace iocp::sim {

// Every number of the model. Times are nanoseconds, sizes bytes, rates millionths, switches 0 or 1.
// README.md names the source of each figure.
struct Parameters {
    // Parameters of the socket layer.

    // `locks`: if 1, as in AFD, a send that does not fit and a waiting receive lock their pages. If
    // 0, as on Linux, the part that fits is copied, and no operation holds memory while it waits.
    std::int64_t locks{1};
    std::int64_t send_buffer{8192};
    std::int64_t receive_buffer{8192};  // bytes beside the transport's window
    // `one_more_send`: if 1, a send of any size is taken while the buffer is not full. If `locks`
    // is 0, only as much of it is taken as fills the last segment that begins in the buffer.
    std::int64_t one_more_send{1};
    // `whole_sends`: if 1, as in AFD, copied bytes take room until their whole send is
    // acknowledged. If 0, they take room until each byte is.
    std::int64_t whole_sends{1};
    // `send_piece`: if `locks` is 0, a send that finds any room continues while the transport can
    // send, and then copies one more piece of this size. If `send_piece` is 0, a send copies only
    // the bytes that there is room for.
    std::int64_t send_piece{0};
    std::int64_t dynamic_send_buffer{0};  // 1: grows with the peer's window until SO_SNDBUF is set
    // Minimum time between two transfers from the send buffer to the transport.
    std::int64_t flush_interval{0};
    std::int64_t blocking_sends{0};         // 1: a locked send waits for every acknowledgement
    std::int64_t doubles_sizes{0};          // 1: SO_SNDBUF and SO_RCVBUF report twice the set size
    std::int64_t min_send_buffer{0};        // the minimum of SO_SNDBUF
    std::int64_t min_receive_option{0};     // the minimum that SO_RCVBUF reports
    std::int64_t receive_option_window{0};  // 1: SO_RCVBUF sets the window; 0: the receive buffer
    std::int64_t end_outlives_reset{0};     // 1: a reader at the end of the stream gets no reset

    // Parameters of the transport (TCP).
    std::int64_t mss{1460};
    std::int64_t receive_window{17'520};
    std::int64_t min_receive_window{0};  // the minimum that SO_RCVBUF can set
    // The maximum to which the window grows while the reader keeps up. SO_RCVBUF ends the growth.
    // 0: the window never grows.
    std::int64_t window_limit{0};
    std::int64_t nagle{1};
    std::int64_t nagle_small_only{0};  // 1: a full segment in flight does not hold a small one back
    std::int64_t ack_delay{200'000'000};
    // `ack_on_read`: if 1, a reader that empties the socket acknowledges at once, unless its side
    // has answered before.
    std::int64_t ack_on_read{0};
    std::int64_t retransmit_first{3'000'000'000};
    std::int64_t retransmit_least{300'000'000};
    std::int64_t retransmit_limit{5};
    std::int64_t connect_limit{2};      // the number of repeated SYNs
    std::int64_t refuses_when_full{1};  // 1: a full listener answers with a reset

    // Parameters of the link.
    std::int64_t delay{100'000};    // of one way
    std::int64_t bandwidth{0};      // bytes a second; 0: no limit
    std::int64_t header_bytes{54};  // Ethernet, IP and TCP headers, which take bandwidth too
    std::int64_t nic_queue{0};      // bytes that may wait below the transport; 0: no limit
    std::int64_t loss{0};
    std::int64_t reorder{0};  // the rate of segments that are delayed further
    // The extra delay of a reordered segment; 0: the same as `delay`, at least 1 us.
    std::int64_t reorder_delay{0};
    std::int64_t jitter{0};  // added to the delay, evenly distributed

    // Parameters of the system, for each host.
    std::int64_t page_size{4096};
    std::int64_t lock_limit{0};  // pages; 0: no limit
    std::int64_t pool_limit{0};  // bytes of the non-paged pool; 0: no limit
    std::int64_t socket_price{2048};
    std::int64_t operation_price{512};
    std::int64_t refuse_charge{0};  // the number of the charge of pages or pool to refuse; 0: none

    // Faults that the seed decides.
    std::int64_t short_operations{0};  // the rate of calls that move only a part
    std::int64_t shuffle_wakeups{0};   // 1: the packets of one turn come in random order
    std::int64_t wake_delay{0};        // from the event that ends a wait until its thread runs
    std::int64_t reset_rate{0};        // rate of connections with this fault, as the next three
    std::int64_t half_close_rate{0};
    std::int64_t stall_rate{0};
    std::int64_t vanish_rate{0};
    std::int64_t fault_span{1'000'000'000};  // faults come between 0 and this after the connect

    // Faults at one place, which is given by its number, counted from 1; 0: no fault.
    std::int64_t lose_segment{0};       // which of all segments sent
    std::int64_t late_segment{0};       // which segment is delayed as by `reorder`
    std::int64_t shorten_operation{0};  // which of the calls that could move only a part
    std::int64_t reset_event{0};  // the fault is injected at the event's socket, before the event
    std::int64_t half_close_event{0};
    std::int64_t stall_event{0};
    std::int64_t vanish_event{0};

    // Parameters of the world.

    // `threads`: if 1, other threads post, so a wait with nothing due sleeps. If 0, such a wait
    // fails.
    std::int64_t threads{0};
};

// Returns whether `count` is the number that a fault parameter gives, such as that of the segment
// to lose.
inline bool is_number(std::int64_t parameter, std::uint64_t count) noexcept {
    return parameter == static_cast<std::int64_t>(count);
}

struct ParameterName {
    std::string_view name;
    std::int64_t Parameters::*member;
};

// Returns every parameter by its name, in the order above.
const std::vector<ParameterName>& parameter_names();

// Finds the preset windows-2000, windows-10 or linux. Returns false for any other name.
bool preset(std::string_view name, Parameters& out);

}  // namespace iocp::sim
