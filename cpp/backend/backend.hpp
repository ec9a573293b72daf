#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "backend/system_error.hpp"
#include "base/address.hpp"
#include "ops/operation.hpp"
#include "ops/socket.hpp"

namespace iocp {

namespace sim {
class World;
}

// The step of a request that a packet reports. A direct send ends in two: first its bytes are sent,
// then the system releases its memory. Every other request ends whole.
enum class Phase : std::uint8_t { whole, transferred, released };

// One event that the kernel reports for one request. While `more` is set, another one follows.
struct Packet {
    SlotId operation;
    std::int64_t result{0};  // bytes, a readiness mask, or the negated system error
    Slice slice;             // the data of a receive from provided buffers
    Handle accepted{no_handle};
    std::int32_t flags{0};  // receive: the MSG_* flags of the system's answer
    bool more{false};       // the request goes on; another packet follows
    // The request was a readiness wait: starting it again will now make progress.
    bool ready{false};
    Phase phase{Phase::whole};
};

enum class Start : std::uint8_t { done, pending, failed };

// done: `value` bytes were moved (accept: `accepted` is set). pending: a packet will follow.
// failed: `value` is the system's error number and nothing is outstanding.
struct StartResult {
    Start start{Start::pending};
    std::int64_t value{0};
    Handle accepted{no_handle};
    std::int32_t flags{0};  // receive: the MSG_* flags of the system's answer
    bool ended{false};      // a read of a connection's messages: the peer sends no more
};

struct Capabilities {
    bool multishot_receive{false};  // pooled receives wait in the kernel as multishot receives
    bool zero_copy_send{false};
    ReceiveStrategy busy{ReceiveStrategy::pooled};  // the cheapest strategy of a busy subscription
    bool start_reads{false};                        // a start returns data that is already there
    bool ordered{false};  // the kernel keeps the posting order of several requests
    // A model: waits take no real time, and a wait that nothing can end fails.
    bool virtual_time{false};
};

// The error of claim() for a thread that may not run the port.
inline constexpr Error runs_elsewhere =
    Error::of(Fault::wrong_thread,
              "another thread runs this port; one thread runs a port, the others post to it");

// The interface between portable and platform code, in groups: a part of the core asks for the
// group that it needs. It carries no policy: no ledger, no queue, no strategy. The port holds its
// lock for every call but wait() and wake(). Without memory a call throws std::bad_alloc and has
// changed nothing; reap() keeps packets without room for the next call.
class Group {
public:
    virtual ~Group() = default;
    Group(const Group&) = delete;
    Group& operator=(const Group&) = delete;

protected:
    Group() = default;
};

// The core's only clock, so that a model can have its own time.
class Clock : public Group {
public:
    [[nodiscard]] virtual std::int64_t now() const noexcept = 0;  // nanoseconds, monotonic
};

// The meaning of the system's error numbers.
class SystemErrors : public Group {
public:
    // Returns whether an error ends its socket (R05).
    [[nodiscard]] virtual bool fatal(const Operation& op, int code) const noexcept = 0;
    // Returns whether a send's error concerns sending alone: the peer takes no more.
    [[nodiscard]] virtual bool ends_sending(int code) const noexcept = 0;
    // Returns whether an error means that the system lacks a resource (R08, R10).
    [[nodiscard]] virtual bool exhausted(int code) const noexcept = 0;
    // Returns whether an error is temporary and no event will report its end, such as a full queue
    // that a connect or datagram meets. The core tries again after a pause.
    [[nodiscard]] virtual bool queue_full(const Operation& /*op*/, int /*code*/) const noexcept {
        return false;
    }
    // Returns whether an error answers a cancel.
    [[nodiscard]] virtual bool cancelled(int code) const noexcept = 0;
    // Returns the result of a packet whose request the system ended.
    [[nodiscard]] virtual std::int64_t cancel_code() const noexcept = 0;
    // Returns the system's error number for a lack of memory; exhausted() accepts it.
    [[nodiscard]] virtual int memory_code() const noexcept = 0;
};

// Sockets themselves. Errors are the system's error numbers; 0 is success.
class SocketBackend : public Group {
public:
    virtual int open(int family, int type, int protocol, Handle& out) = 0;
    virtual int describe(Handle handle, Socket& out) = 0;  // family, type, protocol, connected
    // The same for a handle that is only watched, and need not be a socket. An error means that the
    // system cannot wait for its readiness.
    virtual int describe_watched(Handle handle, Socket& out) = 0;
    // The same for an object that is no descriptor: a process or an event of Windows.
    virtual int describe_object(Handle /*handle*/, Socket& /*out*/) { return code_not_offered; }
    virtual int bind(Socket& socket, const Address& address) = 0;
    virtual int listen(Socket& socket, int backlog) = 0;
    virtual int name_of(const Socket& socket, bool peer, Address& out) = 0;
    virtual int get_option(const Socket& socket, int level, int option, void* value,
                           std::size_t& length) = 0;
    virtual int set_option(const Socket& socket, int level, int option, const void* value,
                           std::size_t length) = 0;
    // Returns whether this socket can send directly. Where that is a setting of the socket, it is
    // made here, and taken back with `on` false.
    virtual bool send_direct(Socket& /*socket*/, bool /*on*/) { return false; }
    virtual int shutdown(Socket& socket, bool receiving, bool sending) = 0;
    virtual void reset_on_close(Socket& socket) = 0;
    // Ends the backend's interest. Precondition: the kernel has no request of this socket.
    virtual void detach(Socket& socket) = 0;
    // Detaches the socket and closes its handle.
    virtual void close(Socket& socket) = 0;
    virtual std::int64_t available(Socket& socket) = 0;
    // Returns a number that changes with every byte that the peer takes from the system's send
    // buffer, as finely as the system reports. Constant where it reports nothing.
    [[nodiscard]] virtual std::uint64_t bytes_taken(const Socket& /*socket*/) noexcept { return 0; }
    // Returns the error that ended a stream's connection, where the failed request reports only the
    // bytes before it. 0 where every error is reported.
    virtual int swallowed_error(const Socket& /*socket*/) noexcept { return 0; }
    // Returns the state of Nagle's algorithm on a stream (R19). The core asks seldom.
    [[nodiscard]] virtual Nagle nagle(const Socket& /*socket*/) noexcept { return Nagle::off; }
};

// Operations, and reads into memory of the core.
class OperationBackend : public Group {
public:
    // Returns the caller's flags that one direction of this socket takes.
    // They mean the same on every backend of this platform; the port refuses all others.
    [[nodiscard]] virtual std::int32_t flags_taken(const Socket& /*socket*/,
                                                   bool /*sending*/) const noexcept {
        return ~std::int32_t{0};
    }
    // Returns whether the flags ask a stream receive to wait for all (MSG_WAITALL, and the bytes
    // are taken). The core goes on until the buffer is full; the system is never asked to.
    [[nodiscard]] virtual bool waits_for_all(std::int32_t flags) const noexcept = 0;
    // Tries `count` operations of a lane without blocking and leaves nothing behind. pending means
    // that it would block.
    virtual StartResult attempt(Operation& op, unsigned count) = 0;
    // Hands `count` operations of a lane, from `op` on, to the kernel as one request.
    virtual StartResult start(Operation& op, unsigned count) = 0;
    // Asks for the end of the request that `op` heads. Its packet still follows.
    virtual void cancel(Operation& op) = 0;
    // Appends the packets of cancelled requests that the calling thread can get without a wait.
    virtual void take_cancelled(std::vector<Packet>& /*out*/) {}
    // Ends the attempt of a started connect whose request ended without an answer, so that the
    // socket can connect again. After an error it cannot, and must be closed.
    virtual int withdraw(Operation& /*op*/) { return 0; }
    // Takes the data that the kernel wrote beside the bytes of a message or datagram. `packet` is
    // the receive's own.
    virtual void conclude(Operation& /*op*/, Packet& /*packet*/) {}
    // Reads without blocking into memory of the core, for drains.
    virtual StartResult read(Socket& socket, std::byte* data, std::size_t length) = 0;
    // Reads one datagram and its sender; `flags` is not 0 if the datagram was truncated.
    virtual StartResult read_from(Socket& socket, std::byte* data, std::size_t length,
                                  Address& from) {
        from.length = 0;
        return read(socket, data, length);
    }
    // Returns whether a read that got less than it asked for has emptied the socket.
    virtual bool drained(Socket& socket) noexcept = 0;
};

// Memory that the system locks.
class MemoryBackend : public Group {
public:
    // Registers memory with the kernel, which keeps it locked until unpin(). Only the thread that
    // runs the port calls either. unpin() returns whether the kernel has released the memory.
    virtual Error pin(std::byte* /*data*/, std::size_t /*length*/) {
        return Error::of(Fault::argument, "this backend registers no memory with the system");
    }
    virtual bool unpin(std::byte* /*data*/) { return true; }
    // Returns whether the system may lock memory for some request now. If not, the core need not
    // ask for each request.
    [[nodiscard]] virtual bool locks_memory() const noexcept { return true; }
    // Returns the pages that the system really locks for a request of `op`.
    [[nodiscard]] virtual std::uint32_t kernel_locked(const Operation& op) const noexcept = 0;
    // Returns the bytes of the backend itself that the system locks: address blocks of posted
    // accepts.
    [[nodiscard]] virtual std::size_t internal_bytes() const noexcept { return 0; }
};

// The turn: publish() with the lock, wait() without it, reap() with it again.
class TurnBackend : public Group {
public:
    // Makes the calling thread the one that runs this backend.
    virtual Error claim() = 0;
    // Returns whether claim() would accept the calling thread now.
    [[nodiscard]] virtual bool claimable() const noexcept { return true; }
    // Returns whether a claim() since the last call took over from an ended thread, whose requests
    // the system ended. The claim itself may have failed in a later step. The next reap() gives the
    // packets that are left; every other request must be started again.
    virtual bool took_over() noexcept { return false; }
    // Returns whether the system may hold our requests, even where this thread may not run the
    // port.
    [[nodiscard]] virtual bool holds_requests() const noexcept { return true; }
    virtual void publish() = 0;
    // Returns when packets may be there, after at most timeout_ns (negative: no limit), a wake, or
    // a signal.
    virtual void wait(std::int64_t timeout_ns) = 0;
    virtual void reap(std::vector<Packet>& out) = 0;
    virtual void wake() noexcept = 0;
    // Returns whether the last wait() ended because no event can ever end it.
    [[nodiscard]] virtual bool nothing_due() const noexcept { return false; }
    // Sets the application's event for interrupts, which ends waits where a signal does not.
    virtual void wake_on(void* /*event*/) {}
};

class Backend : public Clock,
                public SystemErrors,
                public SocketBackend,
                public OperationBackend,
                public MemoryBackend,
                public TurnBackend {
public:
    [[nodiscard]] virtual std::string_view name() const noexcept = 0;
    [[nodiscard]] virtual Capabilities capabilities() const noexcept = 0;
};

struct BackendOptions {
    unsigned ring_entries{256};   // submission entries of an io_uring
    bool shared{false};           // any thread may run it, one at a time
    unsigned posted_accepts{32};  // accepts that stay posted for a subscription to a listener
    std::shared_ptr<sim::World> world{};  // the model to run on instead of the system
};

// The reason why a backend was chosen or refused.
struct BackendReason {
    std::string text;
    int code{0};  // the system's error number of a refusal; 0: the system was not asked
    // The refusal is a lack of descriptors or memory, which may be over when some are freed.
    bool exhausted{false};
};

// Makes the backend called `name`, or returns null. "auto" picks the best one. A world in the
// options comes first.
std::unique_ptr<Backend> make_backend(std::string_view name, BufferPool& pool,
                                      const BackendOptions& options, BackendReason& reason);

// The result of one trial of a backend.
struct Surveyed {
    std::string name;
    std::string state;                     // "ok", or the reason of its refusal here
    std::map<std::string, bool> features;  // its features here; empty if it is refused
};

// Tries every backend of this platform, one at a time. The system may count the memory that one
// locked against the next for a while.
std::vector<Surveyed> survey_backends();

}  // namespace iocp
