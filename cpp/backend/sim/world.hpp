#pragma once

#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>

#include "backend/sim/socket_layer.hpp"
#include "backend/sim/stack.hpp"
#include "backend/sim/transport.hpp"

namespace iocp::sim {

// One model: its clock, its machines, its network. Ports share it by sharing the object. Its lock
// is taken after a port's, and nothing is called while it is held.
class World {
public:
    World(const Parameters& parameters, std::uint64_t seed);

    // Whoever touches `stack` or `sockets` holds it and calls settle() before letting go.
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

    // Lets virtual time pass until the machine has packets or was woken, or until `timeout`
    // nanoseconds (negative: for ever) are over. False: nothing is to come that could end it.
    bool wait(Machine& machine, std::int64_t timeout);
    // The same for whichever machine is first; false: the time is over, and none has anything.
    bool pass(std::int64_t timeout);
    void wake(Machine& machine) noexcept;
    // One event, if it comes by `limit`. Precondition: the lock is held.
    bool step(std::int64_t limit);

private:
    void settle();
    [[nodiscard]] bool anyone_due() const noexcept;
    void wake_late(std::int64_t limit);
    // Lets the mishap come before the event whose number it has; false: it has none.
    bool befall_before(const Event& event);

    std::mutex mutex_;
    std::condition_variable posted_;
    Transport transport_;
    SocketLayer sockets_;
};

}  // namespace iocp::sim
