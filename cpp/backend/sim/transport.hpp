#pragma once

#include "backend/sim/stack.hpp"

namespace iocp::sim {

// TCP as document 003 tells of it: window-limited, without congestion control. Whatever it changes
// at an endpoint it touches, so that the socket layer looks after it before the event is over.
class Transport {
public:
    explicit Transport(Stack& stack) : stack_(stack) {}

    void connect(Endpoint& endpoint, const Name& to);
    // Sends what may go, and what has to be acknowledged.
    void output(Endpoint& endpoint);
    // The stream ends behind what was posted.
    void finish(Endpoint& endpoint);
    // Ends the connection at once; the peer gets a reset.
    void abort(Endpoint& endpoint);
    // Ends the connection at this end alone.
    void fail(Endpoint& endpoint, int code);
    // The peer has reset the connection.
    void fail_by_reset(Endpoint& endpoint);
    // A reader took `length` bytes: what that means for the window and the acknowledgement.
    void was_read(Endpoint& endpoint, std::uint64_t length);
    // New bytes are in the buffer or locked: what of them the transport gets now.
    void posted(Endpoint& endpoint, bool at_once);

    // A closed endpoint does not wait for ever for a window to open.
    void give_up_later(Endpoint& endpoint);

    void arrive(const Segment& segment);
    void expire(Endpoint& endpoint, EventKind kind);
    // Whether the connection needs nothing more of this endpoint, whose port has closed it.
    [[nodiscard]] static bool settled(const Endpoint& endpoint) noexcept;
    // Two ends of one connection, without a handshake.
    void join(Endpoint& one, Endpoint& other);

private:
    void send_syn(Endpoint& endpoint);
    void syn_arrives(const Segment& segment);
    void handshake(Endpoint& endpoint, const Segment& segment);
    void established(Endpoint& endpoint);
    void schedule_mishaps(Endpoint& endpoint);
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
