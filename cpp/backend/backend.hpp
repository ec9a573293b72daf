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

// The part of a request's end that a packet reports. A direct (zero-copy) send ends with two
// packets: `transferred` when its bytes are sent, `released` when the system no longer reads its
// memory. Every other request ends with one packet, `whole`.
enum class Phase : std::uint8_t { whole, transferred, released };

// One report of the kernel about one request. While `more` is set, another report follows.
struct Packet {
    SlotId operation;
    std::int64_t result{0};  // the number of bytes, or the negated number of a system error
    Slice slice;             // the data of a receive from provided buffers
    Handle accepted{no_handle};
    std::int32_t flags{0};  // receive: the MSG_* flags that the system returned
    bool more{false};       // the request continues, and another packet follows
    // The request only waited for readiness: starting the operation again will make progress.
    bool ready{false};
    Phase phase{Phase::whole};
};

enum class Start : std::uint8_t { done, pending, failed };

// The result of a start or an attempt. done: `value` bytes were transferred, or `accepted` is the
// new connection. pending: a packet will follow a start; an attempt would have blocked. failed:
// `value` is the system's error number, and nothing is outstanding.
struct StartResult {
    Start start{Start::pending};
    std::int64_t value{0};
    Handle accepted{no_handle};
    std::int32_t flags{0};  // receive: the MSG_* flags that the system returned
    bool ended{false};      // read of a SOCK_SEQPACKET socket: the peer sends no more
};

struct Capabilities {
    bool multishot_receive{false};  // pooled receives wait in the kernel as multishot receives
    bool zero_copy_send{false};
    ReceiveStrategy busy{ReceiveStrategy::pooled};  // the cheapest strategy of a busy subscription
    bool start_reads{false};                        // start() returns data that has already arrived
    bool ordered{false};  // the kernel completes several requests of one lane in posting order
    // The backend is a model: its waits take no real time, and a wait that no event can end fails.
    bool virtual_time{false};
};

// The error of claim() for a thread that may not run the port.
inline constexpr Error runs_elsewhere =
    Error::of(Fault::wrong_thread,
              "another thread runs this port; one thread runs a port, the others post to it");

// The base of the groups of calls that form the interface between portable and platform code. A
// part of the core depends only on the group that it needs. Backends carry no policy: no ledger, no
// queue, no strategy. The port holds its lock for every call except now(), wake(), and a wait()
// that may block. A call that finds no memory throws std::bad_alloc and changes nothing; reap()
// keeps the packets that it has no room for until its next call.
class Group {
public:
    virtual ~Group() = default;
    Group(const Group&) = delete;
    Group& operator=(const Group&) = delete;

protected:
    Group() = default;
};

// The core's only clock. It belongs to the backend, so that a model can have virtual time.
class Clock : public Group {
public:
    [[nodiscard]] virtual std::int64_t now() const noexcept = 0;  // nanoseconds, monotonic
};

// Classifies the system's error numbers for the core.
class SystemErrors : public Group {
public:
    // Returns whether the operation's error ends its socket (R05).
    [[nodiscard]] virtual bool fatal(const Operation& op, int code) const noexcept = 0;
    // Returns whether an error of a send ends only the sending side: the peer takes no more data,
    // but receives go on.
    [[nodiscard]] virtual bool ends_sending(int code) const noexcept = 0;
    // Returns whether an error means that the system lacks a resource (R08, R10).
    [[nodiscard]] virtual bool exhausted(int code) const noexcept = 0;
    // Returns whether an error is temporary and no event will report its end, so that the core
    // tries again after a pause. An example is the full queue of an AF_UNIX peer, which refuses a
    // connect or a datagram.
    [[nodiscard]] virtual bool queue_full(const Operation& /*op*/, int /*code*/) const noexcept {
        return false;
    }
    // Returns whether an error number means that the request was cancelled.
    [[nodiscard]] virtual bool cancelled(int code) const noexcept = 0;
    // Returns the `result` in the packet of a cancelled request.
    [[nodiscard]] virtual std::int64_t cancel_code() const noexcept = 0;
    // Returns the system's error number for a lack of memory, for which exhausted() is true.
    [[nodiscard]] virtual int memory_code() const noexcept = 0;
};

// Calls on sockets. A call that returns an int returns the system's error number, or 0 for success.
class SocketBackend : public Group {
public:
    virtual int open(int family, int type, int protocol, Handle& out) = 0;
    // Fills in the family, type and protocol of a socket, and whether it is connected or listening.
    virtual int describe(Handle handle, Socket& out) = 0;
    // Checks a handle that takes readiness waits only and need not be a socket. Returns an error if
    // the system cannot wait for its readiness.
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
    // Returns whether the socket can send directly. On systems where this is a setting of the
    // socket, switches the setting on or off.
    virtual bool send_direct(Socket& /*socket*/, bool /*on*/) { return false; }
    virtual int shutdown(Socket& socket, bool receiving, bool sending) = 0;
    virtual void reset_on_close(Socket& socket) = 0;
    // Makes the backend forget the socket, whose handle stays open. Precondition: the kernel has no
    // request of the socket.
    virtual void detach(Socket& socket) = 0;
    // Detaches the socket and closes its handle.
    virtual void close(Socket& socket) = 0;
    virtual std::int64_t available(Socket& socket) = 0;
    // Returns a number that changes whenever the peer has taken bytes from the system's send
    // buffer, as finely as the system reports this. The number is constant if the system does not
    // report it.
    [[nodiscard]] virtual std::uint64_t bytes_taken(const Socket& /*socket*/) noexcept { return 0; }
    // Returns the error that ended a stream's connection, on systems where a send that fails
    // part-way reports only the bytes sent before the error. Returns 0 on systems that report every
    // error.
    virtual int swallowed_error(const Socket& /*socket*/) noexcept { return 0; }
    // Returns the state of Nagle's algorithm on a stream (R19). The core asks seldom.
    [[nodiscard]] virtual Nagle nagle(const Socket& /*socket*/) noexcept { return Nagle::off; }
};

// Calls that attempt, start and cancel operations, and that read into memory of the core.
class OperationBackend : public Group {
public:
    // Returns the MSG_* flags that a caller may pass to sends, or to receives, of the socket. The
    // flags mean the same on every backend of this platform; the port refuses all others.
    [[nodiscard]] virtual std::int32_t flags_taken(const Socket& /*socket*/,
                                                   bool /*sending*/) const noexcept {
        return ~std::int32_t{0};
    }
    // Returns whether the flags ask a stream receive to fill its buffer: MSG_WAITALL, and no flag
    // such as MSG_PEEK with which a receive takes no bytes. The core itself continues such a
    // receive; a receive never passes MSG_WAITALL to the system.
    [[nodiscard]] virtual bool waits_for_all(std::int32_t flags) const noexcept = 0;
    // Tries `count` operations of a lane, from `op` on, without blocking. Returns `pending` if the
    // call would block; the kernel then has no request.
    virtual StartResult attempt(Operation& op, unsigned count) = 0;
    // Hands `count` operations of a lane, from `op` on, to the kernel as one request.
    virtual StartResult start(Operation& op, unsigned count) = 0;
    // Asks the kernel to end the request that covers the operations from `op` on. The packet of the
    // request still follows.
    virtual void cancel(Operation& op) = 0;
    // Appends the packets of cancelled requests that the calling thread can get without a wait.
    virtual void take_cancelled(std::vector<Packet>& /*out*/) {}
    // Abandons the system's connection attempt after the request of a connect ended without an
    // answer, so that the socket can connect again. Returns 0 or an error number. If it returns an
    // error, the socket cannot connect again and must be closed.
    virtual int withdraw(Operation& /*op*/) { return 0; }
    // Completes the packet of a receive with what the kernel wrote besides the bytes of the message
    // or datagram, such as the sender and the MSG_* flags.
    virtual void conclude(Operation& /*op*/, Packet& /*packet*/) {}
    // Reads without blocking into memory of the core, to drain the socket.
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

// Memory that the system locks for requests, or that is registered with it.
class MemoryBackend : public Group {
public:
    // Registers memory with the kernel, which keeps it locked until unpin(). Only the thread that
    // runs the port may call pin() or unpin(). unpin() returns whether the kernel has released the
    // memory.
    virtual Error pin(std::byte* /*data*/, std::size_t /*length*/) {
        return Error::of(Fault::argument, "this backend registers no memory with the system");
    }
    virtual bool unpin(std::byte* /*data*/) { return true; }
    // Returns whether the system may lock memory for any request now. If not, the core need not
    // call kernel_locked() for each operation.
    [[nodiscard]] virtual bool locks_memory() const noexcept { return true; }
    // Returns the pages that the system really locks for a request of `op`.
    [[nodiscard]] virtual std::uint32_t kernel_locked(const Operation& op) const noexcept = 0;
    // Returns how many bytes of the backend's own memory the system locks: the address buffers of
    // posted accepts.
    [[nodiscard]] virtual std::size_t internal_bytes() const noexcept { return 0; }
};

// The backend's part of a turn: publish() with the port's lock, wait() without it unless the
// timeout is 0, and reap() with it again.
class TurnBackend : public Group {
public:
    // Makes the calling thread the one that runs this backend.
    virtual Error claim() = 0;
    // Lets another thread claim the backend while the calling one lives. That claim takes over as
    // from an ended thread.
    virtual void release() noexcept {}
    // Returns whether claim() would accept the calling thread now.
    [[nodiscard]] virtual bool claimable() const noexcept { return true; }
    // Returns whether a claim() since the last call of took_over() took over from an ended thread,
    // even if that claim() failed in a later step. The system has ended the requests of that
    // thread. The next reap() returns the packets that are left; every other request must be
    // started again.
    virtual bool took_over() noexcept { return false; }
    // Returns whether the kernel may hold requests of this backend, even if the calling thread may
    // not run the port.
    [[nodiscard]] virtual bool holds_requests() const noexcept { return true; }
    virtual void publish() = 0;
    // Waits until packets may be there, timeout_ns have passed (negative: no limit), wake() is
    // called, or a signal arrives.
    virtual void wait(std::int64_t timeout_ns) = 0;
    virtual void reap(std::vector<Packet>& out) = 0;
    virtual void wake() noexcept = 0;
    // Returns whether the last wait() ended because no event can ever end it.
    [[nodiscard]] virtual bool nothing_due() const noexcept { return false; }
    // Sets the application's event for interrupts (Ctrl-C), which ends waits on systems where a
    // signal does not.
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
    bool shared{false};           // any thread may run the backend, one at a time
    unsigned posted_accepts{32};  // accepts that stay posted for a subscription to a listener
    std::shared_ptr<sim::World> world{};  // the model to run on instead of the system
};

// The reason why a backend was chosen or refused.
struct BackendReason {
    std::string text;
    int code{0};  // the system's error number for a refusal; 0: the system did not refuse
    // The system lacked descriptors or memory, so a later attempt may succeed.
    bool exhausted{false};
};

// Makes the backend called `name`, or returns null with the reason. "auto" picks the best available
// backend. If the options have a world, the result is a model whatever `name` says.
std::unique_ptr<Backend> make_backend(std::string_view name, BufferPool& pool,
                                      const BackendOptions& options, BackendReason& reason);

// The result of trying to make one backend (survey_backends()).
struct Surveyed {
    std::string name;
    std::string state;                     // "ok", or the reason why the system refuses the backend
    std::map<std::string, bool> features;  // the backend's features; empty if it is refused
};

// Tries every backend of this platform, one after the other. The memory that one backend has locked
// may count against the limit of the next for a while.
std::vector<Surveyed> survey_backends();

}  // namespace iocp
