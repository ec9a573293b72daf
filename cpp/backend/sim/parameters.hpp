#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

namespace iocp::sim {

// Every number of the model. Times are nanoseconds, sizes bytes, rates millionths, switches 0 or 1.
// Where a figure comes from is said in README.md.
struct Parameters {
    // Socket layer.
    std::int64_t locks{1};  // AFD: a send that does not fit, and a receive that waits, lock their
                            // pages; 0: what fits is copied, and nobody waits with memory
    std::int64_t send_buffer{8192};
    std::int64_t receive_buffer{8192};  // beside the window of the transport
    std::int64_t one_more_send{1};      // a send is taken while the buffer is not yet full;
                                        // without locks what fills the last segment of it
    std::int64_t whole_sends{1};        // AFD: what was copied takes room until its whole send is
                                        // acknowledged; 0: byte by byte
    std::int64_t send_piece{0};  // without locks: a send with any room goes on while the transport
                                 // sends at once, and takes one piece of this more; 0: no
    std::int64_t dynamic_send_buffer{0};    // grows with the peer's window until SO_SNDBUF is set
    std::int64_t flush_interval{0};         // the buffer goes to the transport so often at most
    std::int64_t blocking_sends{0};         // locked sends are made by callers that wait
    std::int64_t doubles_sizes{0};          // SO_SNDBUF and SO_RCVBUF read twice what was set
    std::int64_t least_send_buffer{0};      // what SO_SNDBUF cannot go below
    std::int64_t least_receive_option{0};   // what SO_RCVBUF reads at least
    std::int64_t receive_option_window{0};  // SO_RCVBUF is the window; 0: the receive buffer
    std::int64_t end_outlives_reset{0};     // a reader at the end of the stream hears of no reset

    // Transport.
    std::int64_t mss{1460};
    std::int64_t receive_window{17'520};
    std::int64_t least_receive_window{0};  // what SO_RCVBUF cannot make it smaller than
    std::int64_t window_limit{0};  // it grows to this as the reader keeps up, until SO_RCVBUF is
                                   // set; 0: it stays
    std::int64_t nagle{1};
    std::int64_t nagle_small_only{0};  // a full segment in flight does not hold a small one back
    std::int64_t ack_delay{200'000'000};
    std::int64_t ack_on_read{0};  // a reader that empties the socket acknowledges at once, unless
                                  // its side has answered before
    std::int64_t retransmit_first{3'000'000'000};
    std::int64_t retransmit_least{300'000'000};
    std::int64_t retransmit_limit{5};
    std::int64_t connect_limit{2};      // SYNs sent again
    std::int64_t refuses_when_full{1};  // a listener whose queue is full answers with a reset

    // Link.
    std::int64_t delay{100'000};    // one way
    std::int64_t bandwidth{0};      // bytes a second; 0: no limit
    std::int64_t header_bytes{54};  // Ethernet, IP and TCP, which take bandwidth too
    std::int64_t nic_queue{0};      // bytes that may wait below the transport; 0: no limit
    std::int64_t loss{0};
    std::int64_t reorder{0};        // segments that take another way
    std::int64_t reorder_delay{0};  // longer by this; 0: the delay once more, at least 1 us
    std::int64_t jitter{0};         // added to the delay, evenly spread

    // System, each host for itself.
    std::int64_t page_size{4096};
    std::int64_t lock_limit{0};  // pages; 0: no limit
    std::int64_t pool_limit{0};  // bytes of the non-paged pool; 0: no limit
    std::int64_t socket_price{2048};
    std::int64_t operation_price{512};
    std::int64_t refuse_charge{0};  // the n-th charge of pages or pool is refused; 0: none

    // Faults, by the seed.
    std::int64_t short_operations{0};  // calls that move a part only
    std::int64_t shuffle_wakeups{0};   // packets of one turn come in any order
    std::int64_t wake_delay{0};        // from what ends a wait to the thread that waited
    std::int64_t reset_rate{0};        // connections that meet each mishap
    std::int64_t half_close_rate{0};
    std::int64_t stall_rate{0};
    std::int64_t vanish_rate{0};
    std::int64_t mishap_span{1'000'000'000};  // at a time from 0 to this after the connect

    // Faults at one place, by its number from 1 on; 0: none.
    std::int64_t lose_segment{0};       // of all that leave
    std::int64_t late_segment{0};       // that comes later, as with `reorder`
    std::int64_t shorten_operation{0};  // of the calls that could move a part only
    std::int64_t reset_event{0};        // befalls the socket that this event is for, before it
    std::int64_t half_close_event{0};
    std::int64_t stall_event{0};
    std::int64_t vanish_event{0};

    // The world.
    std::int64_t threads{0};  // others post: a wait with nothing due sleeps instead of failing
};

// Whether the place that `count` has come to is the one that a parameter names.
inline bool is_number(std::int64_t parameter, std::uint64_t count) noexcept {
    return parameter == static_cast<std::int64_t>(count);
}

struct ParameterName {
    std::string_view name;
    std::int64_t Parameters::*member;
};

// Every parameter by its name, in the order above.
const std::vector<ParameterName>& parameter_names();

// The preset called `name`: windows-2000, windows-10 or linux. False: there is none such.
bool preset(std::string_view name, Parameters& out);

}  // namespace iocp::sim
