// Transport: sends and receives the segments of a stream.
#include "backend/sim/transport.hpp"

#include <algorithm>

#include "backend/sim/codes.hpp"

namespace iocp::sim {

namespace {

constexpr std::uint32_t duplicate_threshold = 3;
constexpr std::uint64_t initial_window = 10;  // segments, TCP_INIT_CWND
constexpr std::int64_t max_timeout = 120'000'000'000;

std::uint64_t minimum(std::uint64_t a, std::uint64_t b, std::uint64_t c) noexcept {
    return std::min(a, std::min(b, c));
}

}  // namespace

std::uint64_t Transport::candidate_edge(const Endpoint& endpoint) const {
    const Incoming& in = endpoint.in;
    return std::max(in.window_edge, in.next + in.room(endpoint.receive_window));
}

// Returns how much a window must grow before the peer is notified.
std::uint64_t Transport::window_step(const Endpoint& endpoint) const {
    return std::min(2 * static_cast<std::uint64_t>(stack_.values.mss),
                    std::max<std::uint64_t>(endpoint.receive_window / 2, 1));
}

// Sets the destination, the acknowledgement and the window of a segment. Every segment carries the
// acknowledgement.
void Transport::stamp(Endpoint& endpoint, Segment& segment) {
    Incoming& in = endpoint.in;
    const std::uint64_t edge = candidate_edge(endpoint);
    if (edge - in.window_edge >=
        std::min<std::uint64_t>(window_step(endpoint),
                                static_cast<std::uint64_t>(stack_.values.mss))) {
        in.window_edge = edge;
    }
    segment.to = endpoint.peer;
    segment.flags |= flag_ack;
    segment.acknowledged = in.next;
    segment.window =
        static_cast<std::uint32_t>(in.window_edge > in.next ? in.window_edge - in.next : 0);
    in.unacknowledged = 0;
    in.acknowledge_now = false;
    in.update_window = false;
    stack_.disarm(endpoint, EventKind::acknowledge);
}

void Transport::emit(Endpoint& endpoint, Segment segment) {
    stamp(endpoint, segment);
    stack_.emit(endpoint, segment);
}

void Transport::send_ack(Endpoint& endpoint, std::uint8_t extra) {
    Segment segment;
    segment.sequence = endpoint.out.next;
    segment.flags = extra;
    emit(endpoint, segment);
}

// Returns the number of bytes of the next segment, or 0 if none may go now.
std::uint32_t Transport::sendable(const Endpoint& endpoint) const {
    const Outgoing& out = endpoint.out;
    const std::uint64_t upto = std::min(out.given_to_transport, out.end);
    if (out.next >= upto || out.window_edge <= out.next) {
        return 0;
    }
    const auto mss = static_cast<std::uint64_t>(stack_.values.mss);
    const Outgoing::Reach reach = out.reach(out.next);
    const std::uint64_t wanted = minimum(mss, upto - out.next, reach.end - out.next);
    const std::uint64_t length = std::min(wanted, out.window_edge - out.next);
    const auto granted = static_cast<std::uint32_t>(length);
    if (!out.in_flight() || out.next < out.highest_sent) {
        return granted;
    }
    if (length < wanted) {
        // The window lacks room for a whole segment. The acknowledgement of the bytes in flight
        // makes that room.
        return 0;
    }
    if (reach.locked && stack_.values.blocking_sends != 0) {
        return 0;  // the caller waits for each acknowledgement (003, 4.1)
    }
    // Under Nagle's algorithm a segment that is not full waits for the acknowledgement of what is
    // in flight. The end of a finished stream does not wait, unless it is in locked memory (003,
    // 4.2).
    if (length == mss || !endpoint.nagle || (out.finished && !reach.locked)) {
        return granted;
    }
    const bool held = stack_.values.nagle_small_only == 0 || out.small_end > out.acknowledged;
    return held ? 0 : granted;
}

void Transport::send_data(Endpoint& endpoint, std::uint64_t position, std::uint32_t length) {
    Outgoing& out = endpoint.out;
    Segment segment;
    segment.sequence = position;
    segment.length = length;
    if (position < out.highest_sent) {
        ++stack_.counts.retransmissions;
        stack_.note(Step::retransmitted, endpoint, position, length);
    } else if (endpoint.timed_position == Incoming::none) {
        endpoint.timed_position = position + length;
        endpoint.timed_since = stack_.now();
    }
    if (length < static_cast<std::uint64_t>(stack_.values.mss)) {
        out.small_end = std::max(out.small_end, position + length);
    }
    out.highest_sent = std::max(out.highest_sent, position + length);
    endpoint.answered = endpoint.answered || endpoint.in.next != 0;
    emit(endpoint, segment);
}

void Transport::send_end(Endpoint& endpoint) {
    Outgoing& out = endpoint.out;
    Segment segment;
    segment.sequence = out.end;
    segment.flags = flag_fin;
    out.next = out.end + 1;
    out.highest_sent = std::max(out.highest_sent, out.next);
    emit(endpoint, segment);
}

void Transport::output(Endpoint& endpoint) {
    if (endpoint.stage != Stage::connected) {
        return;
    }
    Outgoing& out = endpoint.out;
    const bool idle = !out.in_flight();
    while (const std::uint32_t length = sendable(endpoint)) {
        const std::uint64_t position = out.next;
        out.next += length;
        send_data(endpoint, position, length);
    }
    if (out.finished && out.next == out.end) {
        send_end(endpoint);
    }
    if (endpoint.in.acknowledge_now) {
        send_ack(endpoint);
    } else if (endpoint.in.update_window) {
        send_ack(endpoint, flag_update);
    }
    if (idle && out.in_flight()) {
        stack_.arm(endpoint, EventKind::retransmit, stack_.now() + endpoint.retransmit_timeout);
    }
}

// Lets the transport have a full segment at once, and less than that only once in each flush
// interval (003, 3.3). Locked memory is posted with `at_once`, which also sends all bytes before
// it.
void Transport::posted(Endpoint& endpoint, bool at_once) {
    Outgoing& out = endpoint.out;
    const Parameters& values = stack_.values;
    const std::int64_t now = stack_.now();
    const bool full = out.end - out.given_to_transport >= static_cast<std::uint64_t>(values.mss);
    const bool over = endpoint.last_flush < 0 || now >= endpoint.last_flush + values.flush_interval;
    if (at_once || full || over || values.flush_interval == 0) {
        out.given_to_transport = out.end;
        endpoint.last_flush = now;
        stack_.disarm(endpoint, EventKind::flush);
    } else if (out.given_to_transport != out.end) {
        stack_.arm(endpoint, EventKind::flush, endpoint.last_flush + values.flush_interval);
    }
    output(endpoint);
}

void Transport::finish(Endpoint& endpoint) {
    if (!endpoint.out.finished) {
        endpoint.out.finished = true;
        posted(endpoint, true);
    }
}

// Linux's dynamic right-sizing (tcp_rcv_space_adjust). A round trip with more bytes read
// than any before means that the sender speeds up, so the window grows ahead of it.
void Transport::grow_window(Endpoint& endpoint, std::uint64_t length) {
    endpoint.read_this_round_trip += length;
    const std::int64_t now = stack_.now();
    if (now < endpoint.read_since + (2 * stack_.values.delay)) {
        return;
    }
    const auto mss = static_cast<std::uint64_t>(stack_.values.mss);
    const std::uint64_t read = endpoint.read_this_round_trip;
    const std::uint64_t before = endpoint.max_read_per_round_trip != 0
                                     ? endpoint.max_read_per_round_trip
                                     : initial_window * mss;
    if (read > before) {
        const std::uint64_t ahead = (2 * read) + (16 * mss);
        const std::uint64_t wanted = ahead + (2 * ahead * (read - before) / before);
        const auto limit = static_cast<std::uint64_t>(stack_.values.window_limit);
        endpoint.receive_window = std::max(endpoint.receive_window, std::min(wanted, limit));
        endpoint.max_read_per_round_trip = read;
    }
    endpoint.read_this_round_trip = 0;
    endpoint.read_since = now;
}

void Transport::was_read(Endpoint& endpoint, std::uint64_t length) {
    Incoming& in = endpoint.in;
    if (stack_.values.window_limit != 0 && !endpoint.receive_buffer_set) {
        grow_window(endpoint, length);
    }
    if (candidate_edge(endpoint) - in.window_edge >= window_step(endpoint)) {
        in.update_window = true;
    }
    if (stack_.values.ack_on_read != 0 && !endpoint.answered && in.unacknowledged != 0 &&
        in.bytes.size() == 0) {
        in.acknowledge_now = true;
    }
    output(endpoint);
}

void Transport::measure(Endpoint& endpoint, std::uint64_t upto) {
    if (endpoint.timed_position != Incoming::none && upto >= endpoint.timed_position) {
        const std::int64_t sample = stack_.now() - endpoint.timed_since;
        endpoint.timed_position = Incoming::none;
        if (endpoint.round_trip == 0) {
            endpoint.round_trip = sample;
            endpoint.round_trip_variation = sample / 2;
        } else {
            const std::int64_t off =
                std::max(sample, endpoint.round_trip) - std::min(sample, endpoint.round_trip);
            endpoint.round_trip_variation += (off - endpoint.round_trip_variation) / 4;
            endpoint.round_trip += (sample - endpoint.round_trip) / 8;
        }
    }
    if (endpoint.round_trip != 0) {
        endpoint.retransmit_timeout =
            std::min(std::max(endpoint.round_trip + (4 * endpoint.round_trip_variation),
                              stack_.values.retransmit_least),
                     max_timeout);
    }
}

void Transport::acknowledged(Endpoint& endpoint, const Segment& segment) {
    Outgoing& out = endpoint.out;
    if (segment.acknowledged > out.highest_sent) {
        return;  // it acknowledges bytes that were never sent
    }
    const std::uint64_t edge = segment.acknowledged + segment.window;
    const bool opened = edge > out.window_edge;
    out.window_edge = std::max(out.window_edge, edge);
    if (segment.acknowledged > out.acknowledged) {
        measure(endpoint, segment.acknowledged);
        const std::uint32_t pages = out.acknowledge(segment.acknowledged);
        if (pages != 0) {
            endpoint.machine->system.unlock(pages);
            stack_.note(Step::unlocked, endpoint, segment.acknowledged);
        }
        out.next = std::max(out.next, segment.acknowledged);
        endpoint.retries = 0;
        endpoint.duplicate_acks = 0;
        stack_.disarm(endpoint, EventKind::retransmit);
        if (out.in_flight()) {
            stack_.arm(endpoint, EventKind::retransmit, stack_.now() + endpoint.retransmit_timeout);
        }
        return;
    }
    const bool nothing_new = segment.length == 0 && !opened && (segment.flags & flag_fin) == 0;
    if (segment.acknowledged == out.acknowledged && nothing_new && out.in_flight() &&
        ++endpoint.duplicate_acks == duplicate_threshold) {
        retransmit(endpoint);
    }
}

// Retransmits the first unacknowledged segment.
void Transport::retransmit(Endpoint& endpoint) {
    Outgoing& out = endpoint.out;
    endpoint.timed_position = Incoming::none;
    if (out.acknowledged == out.end) {
        send_end(endpoint);
        return;
    }
    const std::uint64_t length =
        minimum(static_cast<std::uint64_t>(stack_.values.mss), out.highest_sent - out.acknowledged,
                out.reach(out.acknowledged).end - out.acknowledged);
    send_data(endpoint, out.acknowledged, static_cast<std::uint32_t>(length));
}

void Transport::data_arrives(Endpoint& endpoint, const Segment& segment) {
    Incoming& in = endpoint.in;
    const bool has_end = (segment.flags & flag_fin) != 0;
    if (segment.length == 0 && !has_end) {
        return;
    }
    const std::uint64_t finish = segment.sequence + segment.length;
    Endpoint* sender = stack_.find(segment.from);
    if (has_end) {
        in.fin_at = finish;
    }
    // The bytes of a segment are copied from their sender, which may be gone. An end of the stream
    // without bytes needs no sender.
    const bool unreadable = sender == nullptr && (segment.length != 0 || finish != in.next);
    if (finish + (has_end ? 1U : 0U) <= in.next || unreadable) {
        in.acknowledge_now = true;  // known already: the acknowledgement was lost
        return;
    }
    const std::uint64_t before = in.next;
    const std::uint64_t whole = in.note(segment.sequence, finish);
    if (whole > before) {
        const auto length = static_cast<std::size_t>(whole - before);
        sender->out.read(before, length, in.bytes.grow(length));
        in.next = whole;
        stack_.note(Step::arrived, endpoint, before, length);
    }
    if (in.next == in.fin_at) {
        ++in.next;
        in.ended = true;
        in.acknowledge_now = true;
    } else if (whole != finish || segment.sequence > before || ++in.unacknowledged >= 2) {
        in.acknowledge_now = true;  // a segment is missing, has filled a gap, or is the second
    } else {
        stack_.arm(endpoint, EventKind::acknowledge, stack_.now() + stack_.values.ack_delay);
    }
}

void Transport::arrive(const Segment& segment) {
    if ((segment.flags & (flag_syn | flag_ack)) == flag_syn) {
        syn_arrives(segment);
        return;
    }
    Endpoint* endpoint = stack_.find(segment.to);
    if (endpoint == nullptr || endpoint->stage == Stage::over) {
        stack_.answer_stray(segment);
        return;
    }
    if (endpoint->vanished) {
        return;
    }
    if ((segment.flags & flag_reset) != 0) {
        fail_by_reset(*endpoint);
        return;
    }
    if (!endpoint->owned && !endpoint->unaccepted && segment.length != 0) {
        abort(*endpoint);  // closed: no reader will take it
        return;
    }
    stack_.touch(*endpoint);
    if (endpoint->stage != Stage::connected || (segment.flags & flag_syn) != 0) {
        handshake(*endpoint, segment);
    }
    if (endpoint->stage == Stage::connected) {
        acknowledged(*endpoint, segment);
        data_arrives(*endpoint, segment);
    }
}

void Transport::expire(Endpoint& endpoint, EventKind kind) {
    stack_.touch(endpoint);
    if (kind == EventKind::acknowledge) {
        ++stack_.counts.delayed_acks;
        endpoint.in.acknowledge_now = true;
        return;  // output() follows
    }
    if (kind == EventKind::flush) {
        posted(endpoint, true);
        return;
    }
    const bool opening = endpoint.stage != Stage::connected;
    const std::int64_t limit =
        opening ? stack_.values.connect_limit : stack_.values.retransmit_limit;
    if (static_cast<std::int64_t>(endpoint.retries) >= limit) {
        fail(endpoint, code_timed_out);
        return;
    }
    ++endpoint.retries;
    endpoint.retransmit_timeout = std::min(2 * endpoint.retransmit_timeout, max_timeout);
    stack_.arm(endpoint, EventKind::retransmit, stack_.now() + endpoint.retransmit_timeout);
    if (opening) {
        send_syn(endpoint);
        return;
    }
    endpoint.timed_position = Incoming::none;
    endpoint.duplicate_acks = 0;
    endpoint.out.next = endpoint.out.acknowledged;  // sends everything from here again
    output(endpoint);
}

void Transport::give_up_later(Endpoint& endpoint) {
    if (Stack::timer(endpoint, EventKind::retransmit).due < 0) {
        stack_.arm(endpoint, EventKind::retransmit, stack_.now() + endpoint.retransmit_timeout);
    }
}

void Transport::fail(Endpoint& endpoint, int code) {
    if (endpoint.stage == Stage::over) {
        return;
    }
    const bool embryo = endpoint.stage == Stage::embryo;
    endpoint.stage = Stage::over;
    endpoint.error = code;
    endpoint.machine->system.unlock(endpoint.out.cut(0));
    endpoint.in.acknowledge_now = false;
    for (const EventKind kind : {EventKind::retransmit, EventKind::acknowledge, EventKind::flush}) {
        stack_.disarm(endpoint, kind);
    }
    stack_.note(Step::failed, endpoint);
    stack_.touch(endpoint);
    endpoint.unaccepted = endpoint.unaccepted && !embryo;
    Endpoint* listener = embryo ? stack_.find(endpoint.listener) : nullptr;
    if (listener != nullptr && listener->listening != nullptr) {
        --listener->listening->embryos;
    }
}

// If the end of the peer's stream came before its reset, only sending fails (tcp_reset() in
// CLOSE_WAIT).
void Transport::fail_by_reset(Endpoint& endpoint) {
    const bool sending_alone = endpoint.stage == Stage::connected && endpoint.in.ended &&
                               !endpoint.out.finished && stack_.values.end_outlives_reset != 0;
    if (endpoint.stage == Stage::connecting) {
        fail(endpoint, code_refused);
    } else {
        fail(endpoint, sending_alone ? code_broken : code_reset);
    }
}

void Transport::abort(Endpoint& endpoint) {
    if (endpoint.stage == Stage::connected || endpoint.stage == Stage::embryo) {
        Segment segment;
        segment.to = endpoint.peer;
        segment.sequence = endpoint.out.next;
        segment.flags = flag_reset;
        stack_.emit(endpoint, segment);
    }
    fail(endpoint, code_reset);
}

bool Transport::settled(const Endpoint& endpoint) noexcept {
    const Outgoing& out = endpoint.out;
    return endpoint.stage != Stage::connected || (out.finished && out.acknowledged == out.end + 1);
}

}  // namespace iocp::sim
