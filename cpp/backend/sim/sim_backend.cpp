#include "backend/sim/sim_backend.hpp"

#include <utility>

#include "backend/families.hpp"
#include "backend/sim/codes.hpp"
#include "base/process.hpp"
#include "native_sockets.hpp"

namespace iocp::sim {

namespace {

constexpr StartResult bad_handle(int code) noexcept { return {Start::failed, code}; }

Machine& machine_of(World& world) {
    const World::Access access(world);
    return world.stack.add_machine();
}

}  // namespace

SimBackend::SimBackend(std::shared_ptr<World> world)
    : world_(std::move(world)), machine_(machine_of(*world_)) {}

// Resets the port's open sockets, as the end of a process does.
SimBackend::~SimBackend() {
    const World::Access access(*world_);
    world_->stack.endpoints.each([&](Endpoint& endpoint) {
        if (endpoint.in_use && endpoint.owned && endpoint.machine == &machine_) {
            endpoint.resets_on_close = true;
            world_->sockets().close(endpoint);
        }
    });
}

Capabilities SimBackend::capabilities() const noexcept {
    Capabilities found;
    found.virtual_time = world_->stack.values.threads == 0;
    return found;
}

int SimBackend::open(int family, int type, int /*protocol*/, Handle& out) {
    const World::Access access(*world_);
    return family == family_inet ? world_->sockets().open(machine_, type, out) : code_not_here;
}

// Describes a socket and attaches it to this port. A socket of another port's machine moves to this
// machine with all its state.
int SimBackend::describe(Handle handle, Socket& out) {
    return with(handle, code_bad_handle, [&](Endpoint& endpoint) {
        if (endpoint.attached) {
            return code_in_use;
        }
        if (endpoint.machine != &machine_) {
            const std::int64_t price = world_->stack.values.socket_price;
            if (!machine_.system.take_pool(world_->stack.values, price)) {
                return code_no_buffers;
            }
            endpoint.machine->system.give_pool(price);
            endpoint.machine = &machine_;
        }
        out.family = static_cast<std::int16_t>(family_inet);
        out.type = static_cast<std::uint8_t>(type_stream);
        out.protocol = IPPROTO_TCP;
        out.stream = true;
        out.connected = endpoint.stage == Stage::connected;
        out.listening = endpoint.stage == Stage::listening;
        endpoint.attached = true;
        return 0;
    });
}

int SimBackend::bind(Socket& socket, const Address& address) {
    return with(socket.handle, code_bad_handle, [&](Endpoint& endpoint) {
        Name name;
        return name_from_address(address, name) ? world_->sockets().bind(endpoint, name)
                                                : code_not_here;
    });
}

int SimBackend::listen(Socket& socket, int backlog) {
    return with(socket.handle, code_bad_handle,
                [&](Endpoint& endpoint) { return world_->sockets().listen(endpoint, backlog); });
}

int SimBackend::name_of(const Socket& socket, bool peer, Address& out) {
    return with(socket.handle, code_bad_handle, [&](Endpoint& endpoint) {
        if (peer && endpoint.stage != Stage::connected) {
            return code_not_connected;
        }
        out = address_from_name(peer ? endpoint.remote : endpoint.local);
        return 0;
    });
}

int SimBackend::shutdown(Socket& socket, bool receiving, bool sending) {
    return with(socket.handle, code_bad_handle, [&](Endpoint& endpoint) {
        return world_->sockets().shutdown(endpoint, receiving, sending);
    });
}

void SimBackend::reset_on_close(Socket& socket) {
    with(socket.handle, 0, [](Endpoint& endpoint) {
        endpoint.resets_on_close = true;
        return 0;
    });
}

// Detaches the socket from this port. The handle stays open for the next port to adopt.
void SimBackend::detach(Socket& socket) {
    with(socket.handle, 0, [](Endpoint& endpoint) {
        endpoint.attached = false;
        return 0;
    });
}

void SimBackend::close(Socket& socket) {
    with(socket.handle, 0, [&](Endpoint& endpoint) {
        world_->sockets().close(endpoint);
        return 0;
    });
}

// Returns the MSG_* flags that the system's own stream sockets take, except those for urgent data
// and the error queue.
std::int32_t SimBackend::flags_taken(const Socket& /*socket*/, bool sending) const noexcept {
    return sending ? flags_of_sends : flags_of_receives;
}

bool SimBackend::waits_for_all(std::int32_t flags) const noexcept {
    return (flags & MSG_WAITALL) != 0 && (flags & (MSG_PEEK | MSG_OOB)) == 0;
}

StartResult SimBackend::attempt(Operation& op, unsigned count) {
    return with(op.socket->handle, bad_handle(code_bad_handle),
                [&](Endpoint& endpoint) { return world_->sockets().attempt(endpoint, op, count); });
}

StartResult SimBackend::start(Operation& op, unsigned count) {
    return with(op.socket->handle, bad_handle(code_bad_handle),
                [&](Endpoint& endpoint) { return world_->sockets().start(endpoint, op, count); });
}

void SimBackend::cancel(Operation& op) {
    with(op.socket->handle, 0, [&](Endpoint& endpoint) {
        world_->sockets().cancel(endpoint, op.sending());
        return 0;
    });
}

StartResult SimBackend::read(Socket& socket, std::byte* data, std::size_t length) {
    return with(socket.handle, bad_handle(code_bad_handle),
                [&](Endpoint& endpoint) { return world_->sockets().read(endpoint, data, length); });
}

bool SimBackend::drained(Socket& socket) noexcept {
    return with(socket.handle, true,
                [](const Endpoint& endpoint) { return !SocketLayer::readable(endpoint); });
}

std::uint64_t SimBackend::bytes_taken(const Socket& socket) noexcept {
    return with(socket.handle, std::uint64_t{0},
                [](const Endpoint& endpoint) { return endpoint.out.acknowledged; });
}

std::int64_t SimBackend::available(Socket& socket) {
    return with(socket.handle, -static_cast<std::int64_t>(code_bad_handle),
                [](const Endpoint& endpoint) -> std::int64_t {
                    return endpoint.stalled ? 0
                                            : static_cast<std::int64_t>(endpoint.in.bytes.size());
                });
}

void SimBackend::wait(std::int64_t timeout_ns) {
    nothing_due_ = !world_->wait(machine_, timeout_ns);
}

void SimBackend::take_cancelled(std::vector<Packet>& out) { take_due(out); }

void SimBackend::reap(std::vector<Packet>& out) {
    take_due(out);
    waiting_ = false;
}

void SimBackend::take_due(std::vector<Packet>& out) {
    const World::Access access(*world_);
    Stack& stack = world_->stack;
    waiting_ = false;
    out.reserve(out.size() + machine_.due.size());
    auto due = std::exchange(machine_.due, {});
    if (stack.values.shuffle_wakeups != 0) {
        for (std::size_t i = due.size(); i > 1; --i) {
            std::swap(due[i - 1], due[stack.random.below(static_cast<std::uint32_t>(i))]);
        }
    }
    for (const Machine::Due& one : due) {
        Endpoint* endpoint = stack.find(one.endpoint);
        if (endpoint != nullptr && (one.sending ? endpoint->sending : endpoint->receiving).due) {
            out.push_back(world_->sockets().take_packet(*endpoint, one.sending));
        }
    }
}

std::uint32_t SimBackend::kernel_locked(const Operation& op) const noexcept {
    return with(op.socket->handle, 0U, [&](const Endpoint& endpoint) {
        const Request& receiving = endpoint.receiving;
        std::uint32_t pages = op.kind == OperationKind::send ? endpoint.out.locked_pages(op.id) : 0;
        if (receiving.active && receiving.operation.packed() == op.id.packed()) {
            pages += receiving.pages;
        }
        const std::size_t bytes = pages * static_cast<std::size_t>(world_->stack.values.page_size);
        return static_cast<std::uint32_t>(bytes / system_page_size());
    });
}

bool SimBackend::fatal(const Operation& op, int code) const noexcept {
    return code_is_fatal(op, code);
}

bool SimBackend::ends_sending(int code) const noexcept { return code == code_broken; }

bool SimBackend::exhausted(int code) const noexcept { return code == code_no_buffers; }

std::int64_t SimBackend::cancel_code() const noexcept { return -code_cancelled; }

int SimBackend::memory_code() const noexcept { return code_no_buffers; }

bool SimBackend::cancelled(int code) const noexcept { return code == code_cancelled; }

std::unique_ptr<Backend> make_backend(std::shared_ptr<World> world, std::string& reason) {
    reason = "a model of the stack in virtual time";
    return std::make_unique<SimBackend>(std::move(world));
}

}  // namespace iocp::sim
