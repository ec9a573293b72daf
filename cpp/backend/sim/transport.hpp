#pragma once

#include "backend/sim/stack.hpp"

namespace iocp::sim {

// TCP as document 003 describes it: limited by windows, without congestion control. It touches
// every endpoint that it changes, so that the socket layer serves the endpoint before the event is
// over.
class Transport {
public:
    explicit Transport(Stack& stack) : stack_(stack) {}

    void connect(Endpoint& endpoint, const Name& to);
    // Sends the data that may go, and the acknowledgements that are due.
    void output(Endpoint& endpoint);
    // Ends the stream behind the posted bytes.
    void finish(Endpoint& endpoint);
    // Ends the connection at once; the peer gets a reset.
    void abort(Endpoint& endpoint);
    // Ends the connection with the error `code`, at this end alone.
    void fail(Endpoint& endpoint, int code);
    // Ends the connection because the peer has reset it.
    void fail_by_reset(Endpoint& endpoint);
    // Notes that a reader took `length` bytes: updates the window and the acknowledgement.
    void was_read(Endpoint& endpoint, std::uint64_t length);
    // Lets the transport have the new bytes in the buffer or in locked pages. Without `at_once` a
    // part of a segment may wait for the flush interval.
    void posted(Endpoint& endpoint, bool at_once);

    // Arms the retransmission timer of a closed endpoint, which bounds the time that it waits for
    // the peer's window to open.
    void give_up_later(Endpoint& endpoint);

    void arrive(const Segment& segment);
    void expire(Endpoint& endpoint, EventKind kind);
    // Returns whether the connection no longer needs this endpoint, which its port has closed.
    [[nodiscard]] static bool settled(const Endpoint& endpoint) noexcept;
    // Connects two endpoints to each other, without a handshake.
    void join(Endpoint& one, Endpoint& other);

private:
    void send_syn(Endpoint& endpoint);
    void syn_arrives(const Segment& segment);
    void handshake(Endpoint& endpoint, const Segment& segment);
    void established(Endpoint& endpoint);
    void schedule_faults(Endpoint& endpoint);
    void acknowledged(Endpoint& endpoint, const Segment& segment);
    void data_arrives(Endpoint& endpoint, const Segment& segment);
    void measure(Endpoint& endpoint, std::uint64_t upto);
    [[nodiscard]] std::uint32_t sendable(const Endpoint& endpoint) const;
    void send_data(Endpoint& endpoint, std::uint64_t position, std::uint32_t length);
    void send_end(Endpoint& endpoint);
    void send_ack(Endpoint& endpoint, std::uint8_t extra = 0);
    void stamp(Endpoint& endpoint, Segment& segment);
    void emit(Endpoint& endpoint, Segment segment);
    [[nodiscard]] std::uint64_t window_step(const Endpoint& endpoint) const;
    [[nodiscard]] std::uint64_t candidate_edge(const Endpoint& endpoint) const;
    void grow_window(Endpoint& endpoint, std::uint64_t length);
    void retransmit(Endpoint& endpoint);

    Stack& stack_;
};

}  // namespace iocp::sim
