// Transport: the handshake that begins a connection.
#include <algorithm>
#include <utility>

#include "backend/sim/injected_fault.hpp"
#include "backend/sim/transport.hpp"

namespace iocp::sim {

void Transport::connect(Endpoint& endpoint, const Name& to) {
    endpoint.remote = to;
    endpoint.stage = Stage::connecting;
    endpoint.in.window_edge = endpoint.receive_window;
    send_syn(endpoint);
    stack_.arm(endpoint, EventKind::retransmit, stack_.now() + endpoint.retransmit_timeout);
}

// Sends the SYN of a connecting end, or the SYN and acknowledgement of its peer.
void Transport::send_syn(Endpoint& endpoint) {
    Segment segment;
    segment.to = endpoint.peer;
    segment.flags = flag_syn;
    if (endpoint.stage == Stage::embryo) {
        segment.flags |= flag_ack;
    }
    segment.window = static_cast<std::uint32_t>(endpoint.receive_window);
    stack_.emit(endpoint, segment);
}

void Transport::syn_arrives(const Segment& segment) {
    Endpoint* client = stack_.find(segment.from);
    if (client == nullptr || client->stage != Stage::connecting) {
        return;
    }
    Endpoint* known = stack_.find(client->peer);
    if (known != nullptr) {
        send_syn(*known);  // the SYN came again, because the answer was lost
        return;
    }
    auto found = stack_.names.find(client->remote);
    if (found == stack_.names.end()) {
        found = stack_.names.find({0, client->remote.port});
    }
    Endpoint* listener = found != stack_.names.end() ? stack_.find(found->second) : nullptr;
    if (listener == nullptr || listener->stage != Stage::listening) {
        stack_.answer_stray(segment);
        return;
    }
    Listening& queue = *listener->listening;
    if (queue.embryos + queue.ready.size() >= std::max<std::size_t>(queue.backlog, 1)) {
        if (stack_.values.refuses_when_full != 0) {
            stack_.answer_stray(segment);
        }
        return;
    }
    Endpoint* made = stack_.add_endpoint(*listener->machine);
    if (made == nullptr) {
        return;  // no pool for it: as if the SYN had been lost
    }
    made->stage = Stage::embryo;
    made->unaccepted = true;
    made->listener = listener->id;
    made->local = client->remote;
    made->remote = client->local;
    made->peer = client->id;
    made->nagle = listener->nagle;
    made->send_buffer_set = listener->send_buffer_set;
    made->receive_buffer_set = listener->receive_buffer_set;
    made->send_buffer = listener->send_buffer;
    made->receive_buffer = listener->receive_buffer;
    made->receive_window = listener->receive_window;
    made->in.window_edge = made->receive_window;
    made->out.window_edge = segment.window;
    client->peer = made->id;
    ++queue.embryos;
    send_syn(*made);
    stack_.arm(*made, EventKind::retransmit, stack_.now() + made->retransmit_timeout);
}

void Transport::established(Endpoint& endpoint) {
    endpoint.stage = Stage::connected;
    endpoint.was_connected = true;
    endpoint.retries = 0;
    endpoint.retransmit_timeout = stack_.values.retransmit_first;
    stack_.disarm(endpoint, EventKind::retransmit);
}

void Transport::handshake(Endpoint& endpoint, const Segment& segment) {
    const bool answer = (segment.flags & (flag_syn | flag_ack)) == (flag_syn | flag_ack);
    if (answer && endpoint.stage == Stage::connecting) {
        endpoint.out.window_edge = segment.window;
        established(endpoint);
        endpoint.in.acknowledge_now = true;
        schedule_faults(endpoint);
    } else if (answer) {
        endpoint.in.acknowledge_now = true;  // our acknowledgement was lost
    } else if (endpoint.stage == Stage::embryo) {
        established(endpoint);
        Endpoint* listener = stack_.find(endpoint.listener);
        if (listener == nullptr || listener->listening == nullptr) {
            abort(endpoint);
            return;
        }
        --listener->listening->embryos;
        listener->listening->ready.push_back(endpoint.id);
        stack_.touch(*listener);
    }
}

// Lets the seed decide which faults a connection meets, when, and at which end.
void Transport::schedule_faults(Endpoint& endpoint) {
    const Parameters& values = stack_.values;
    const std::pair<InjectedFault, std::int64_t> rates[] = {
        {InjectedFault::reset, values.reset_rate},
        {InjectedFault::half_close, values.half_close_rate},
        {InjectedFault::stall, values.stall_rate},
        {InjectedFault::vanish, values.vanish_rate}};
    for (const auto& [fault, rate] : rates) {
        if (stack_.random.chance(rate)) {
            Segment target;
            target.to = stack_.random.below(2) == 0 ? endpoint.id : endpoint.peer;
            target.flags = static_cast<std::uint8_t>(fault);
            const auto span = static_cast<std::uint64_t>(values.fault_span) + 1;
            const auto after = static_cast<std::int64_t>(stack_.random.next() % span);
            stack_.events.push(stack_.now() + after, EventKind::fault, target);
        }
    }
}

void Transport::join(Endpoint& one, Endpoint& other) {
    for (Endpoint* end : {&one, &other}) {
        Endpoint& peer = end == &one ? other : one;
        end->stage = Stage::connected;
        end->was_connected = true;
        end->peer = peer.id;
        end->local = stack_.free_name(loopback);
        peer.remote = end->local;
        end->in.window_edge = end->receive_window;
        peer.out.window_edge = end->receive_window;
    }
}

}  // namespace iocp::sim
