#pragma once

#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>

#include "backend/sim/socket_layer.hpp"
#include "backend/sim/stack.hpp"
#include "backend/sim/transport.hpp"

namespace iocp::sim {

// One modelled world: its clock, its machines, its network. Ports made with the same World share
// all three. Its lock is taken after a port's, and no function is called back while it is held.
class World {
public:
    World(const Parameters& parameters, std::uint64_t seed);

    // Holds the lock for code that uses `stack` or `sockets`. Its destructor serves the changed
    // endpoints.
    class Access {
    public:
        explicit Access(World& world) : lock_(world.mutex_), world_(world) {}
        ~Access() { world_.settle(); }
        Access(const Access&) = delete;
        Access& operator=(const Access&) = delete;

    private:
        std::unique_lock<std::mutex> lock_;
        World& world_;
    };

    Stack stack;
    SocketLayer& sockets() noexcept { return sockets_; }

    // Lets virtual time pass until the machine has packets or was woken, or for `timeout`
    // nanoseconds (negative: for ever). Returns false if no event can ever end the wait.
    bool wait(Machine& machine, std::int64_t timeout);
    // Lets virtual time pass until any machine has packets or was woken, or for `timeout`
    // nanoseconds. Returns false if the time has passed and no machine has packets or was woken.
    bool pass(std::int64_t timeout);
    void wake(Machine& machine) noexcept;
    // Lets one event happen, if it is due by `limit`. Precondition: the lock is held.
    bool step(std::int64_t limit);

private:
    void settle();
    [[nodiscard]] bool any_due() const noexcept;
    void wake_late(std::int64_t limit);
    // Injects the fault that is due before this event. Returns false if there is none.
    bool inject_due_faults(const Event& event);

    std::mutex mutex_;
    std::condition_variable posted_;
    Transport transport_;
    SocketLayer sockets_;
};

}  // namespace iocp::sim
