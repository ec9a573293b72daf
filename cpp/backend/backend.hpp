#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "backend/address.hpp"
#include "core/operation.hpp"
#include "core/socket.hpp"

namespace iocp {

namespace sim {
class World;
}

// A send from where its data lies ends in two steps: once its bytes went, and once nothing reads
// its memory any more. Everything else ends whole.
enum class Phase : std::uint8_t { whole, transferred, released };

// One event the kernel reports for one request. A request may yield several while `more` is set.
struct Packet {
    SlotId operation;
    std::int64_t result{0};  // bytes, a readiness mask, or the negated system error
    Slice slice;             // a pooled receive's data
    Handle accepted{no_handle};
    std::int32_t flags{0};  // receive: MSG_* of the system's answer
    bool more{false};       // the request stands; another packet follows
    bool ready{false};      // the request only waited: starting it again will now do something
    Phase phase{Phase::whole};
};

enum class Start : std::uint8_t { done, pending, failed };

// done: `value` bytes went (accept: `accepted` is set). pending: the kernel will tell. failed:
// `value` is the system's error number and nothing is outstanding.
struct StartResult {
    Start start{Start::pending};
    std::int64_t value{0};
    Handle accepted{no_handle};
    std::int32_t flags{0};  // receive: MSG_* of the system's answer
    bool ended{false};      // a read of a connection's messages: the peer sends none any more
};

struct Capabilities {
    bool multishot_receive{false};  // pooled receives stand in the kernel and pick their memory
    bool zero_copy_send{false};
    Receive busy{Receive::pooled};  // how a busy subscription receives at the least cost
    bool start_reads{false};        // a start brings at once what is there
    bool ordered{false};            // the kernel keeps the posting order of several requests
    bool virtual_time{false};       // a model: waits take no time, and what nothing can end fails
};

// Why claim() refuses a thread.
inline constexpr Error runs_elsewhere =
    Error::of(Fault::wrong_thread,
              "another thread runs this port; one thread runs a port, the others post to it");

// The whole seam between portable and platform code. It carries no policy: no ledger, no queue, no
// strategy. The port calls everything but wait() and wake() with its lock held. Where memory is
// lacking a call throws std::bad_alloc and has changed nothing; reap() keeps for the next call what
// it found no room for.
class Backend {
public:
    Backend() = default;
    virtual ~Backend() = default;
    Backend(const Backend&) = delete;
    Backend& operator=(const Backend&) = delete;

    [[nodiscard]] virtual std::string_view name() const noexcept = 0;
    // Whether the system may have a request of ours, also where this thread is refused.
    [[nodiscard]] virtual bool holds_requests() const noexcept { return true; }
    [[nodiscard]] virtual Capabilities capabilities() const noexcept = 0;

    // Sockets. Errors are system error numbers, 0 for success.
    virtual int open(int family, int type, int protocol, Handle& out) = 0;
    virtual int describe(Handle handle, Socket& out) = 0;  // family, type, protocol, connected
    virtual int bind(Socket& socket, const Address& address) = 0;
    virtual int listen(Socket& socket, int backlog) = 0;
    virtual int name_of(const Socket& socket, bool peer, Address& out) = 0;
    virtual int get_option(const Socket& socket, int level, int option, void* value,
                           std::size_t& length) = 0;
    virtual int set_option(const Socket& socket, int level, int option, const void* value,
                           std::size_t length) = 0;
    virtual int shutdown(Socket& socket, bool receiving, bool sending) = 0;
    virtual void reset_on_close(Socket& socket) = 0;
    // Ends the backend's interest. Precondition: no request of this socket is in the kernel.
    virtual void detach(Socket& socket) = 0;
    // detach() and close the handle.
    virtual void close(Socket& socket) = 0;

    // Operations.
    // The caller's flags that mean the same on every backend of this platform, for one direction of
    // this socket; the port refuses every other.
    [[nodiscard]] virtual std::int32_t flags_taken(const Socket& /*socket*/,
                                                   bool /*sending*/) const noexcept {
        return ~std::int32_t{0};
    }
    // Whether the caller's flags ask a stream receive to fill its buffer (MSG_WAITALL, and the
    // bytes are taken). The core goes on until it has; the system is never asked to.
    [[nodiscard]] virtual bool fills(std::int32_t flags) const noexcept = 0;
    // Tries `count` operations of a lane without blocking and leaves nothing behind: pending says
    // that it would block.
    virtual StartResult attempt(Operation& op, unsigned count) = 0;
    // Hands `count` operations of a lane, from `op` on, to the kernel as one request.
    virtual StartResult start(Operation& op, unsigned count) = 0;
    // Whether this socket can send from where the data lies. Where that is the socket's own setting
    // it is made here, and taken back with `on` false.
    virtual bool send_direct(Socket& /*socket*/, bool /*on*/) { return false; }
    // Makes memory known to the kernel, which keeps it locked until unpin(). Both are for the
    // thread that runs the port; unpin() says whether the kernel has let go.
    virtual Error pin(std::byte* /*data*/, std::size_t /*length*/) {
        return Error::of(Fault::argument, "this backend registers no memory with the system");
    }
    virtual bool unpin(std::byte* /*data*/) { return true; }
    // Asks for the end of the request that `op` heads; its packet still comes.
    virtual void cancel(Operation& op) = 0;
    // Appends the packets of cancelled requests that the calling thread can have without a wait.
    virtual void take_cancelled(std::vector<Packet>& /*out*/) {}
    // Ends the attempt of a connect that was started and whose request is over without an answer,
    // so that the socket can connect again. An error: it cannot, and is to be closed.
    virtual int withdraw(Operation& /*op*/) { return 0; }
    // A receive of a message or a datagram, and its own packet: takes what the kernel wrote beside
    // the bytes.
    virtual void conclude(Operation& /*op*/, Packet& /*packet*/) {}
    // What ended a stream's connection, where the request that met it tells only the bytes that had
    // gone before; 0 where every error is told.
    virtual int swallowed_error(const Socket& /*socket*/) noexcept { return 0; }
    // A number that changes with every byte that the peer takes of what the system holds to send,
    // as finely as the system tells; constant where it does not.
    [[nodiscard]] virtual std::uint64_t bytes_taken(const Socket& /*socket*/) noexcept { return 0; }
    // Reads without blocking into memory of the core: drains.
    virtual StartResult read(Socket& socket, std::byte* data, std::size_t length) = 0;
    // The same of one datagram, and whose it is; `flags` are not 0 if it was cut.
    virtual StartResult read_from(Socket& socket, std::byte* data, std::size_t length,
                                  Address& from) {
        from.length = 0;
        return read(socket, data, length);
    }
    // Whether a read that got less than it had room for has emptied the socket.
    virtual bool drained(Socket& socket) noexcept = 0;
    virtual std::int64_t available(Socket& socket) = 0;

    // Waiting. publish() with the lock, wait() without it, reap() with it again.
    // Makes the calling thread the one that runs this backend.
    virtual Error claim() = 0;
    // Whether claim() would take the calling thread, as far as one look tells.
    [[nodiscard]] virtual bool claimable() const noexcept { return true; }
    // Whether the last claim() took over from a thread that is gone, whose requests the system
    // ended: reap() gives the packets that are left, every other request has to be started again.
    virtual bool took_over() noexcept { return false; }
    virtual void publish() = 0;
    // Returns when packets may be there, after timeout_ns (negative: never), a wake, or a signal.
    virtual void wait(std::int64_t timeout_ns) = 0;
    virtual void reap(std::vector<Packet>& out) = 0;
    virtual void wake() noexcept = 0;
    // Whether the last wait() ended because nothing is to come that could ever end it.
    [[nodiscard]] virtual bool nothing_due() const noexcept { return false; }
    // The application's own event for interrupts, which ends waits where a signal does not.
    virtual void wake_on(void* /*event*/) {}
    [[nodiscard]] virtual std::int64_t now() const noexcept = 0;  // nanoseconds, monotonic

    // Whether the system may be locking memory for any request now; if not, nobody need be asked.
    [[nodiscard]] virtual bool locks_memory() const noexcept { return true; }
    // What the system really locks for a request of `op`, in pages.
    [[nodiscard]] virtual std::uint32_t kernel_locked(const Operation& op) const noexcept = 0;
    // Bytes of the backend's own that the system locks: address blocks of posted accepts.
    [[nodiscard]] virtual std::size_t internal_bytes() const noexcept { return 0; }
    // Asked seldom, and only of streams: what Nagle's algorithm does to them (R19).
    [[nodiscard]] virtual Nagle nagle(const Socket& /*socket*/) noexcept { return Nagle::off; }
    // Whether an error ends its socket (R05).
    [[nodiscard]] virtual bool fatal(const Operation& op, int code) const noexcept = 0;
    // Whether an error that a send met is of sending alone: the peer takes nothing more.
    [[nodiscard]] virtual bool ends_sending(int code) const noexcept = 0;
    // Whether an error says that the system ran out of something (R08, R10).
    [[nodiscard]] virtual bool exhausted(int code) const noexcept = 0;
    // Whether an error says that something is not yet as it has to be (of a connect or a datagram:
    // the queue it goes to is full), and nothing will tell when it is: the core asks again after a
    // while.
    [[nodiscard]] virtual bool queue_full(const Operation& /*op*/, int /*code*/) const noexcept {
        return false;
    }
    // The result of a packet that says that the system ended a request.
    [[nodiscard]] virtual std::int64_t cancel_code() const noexcept = 0;
    // The system's error number for want of memory; exhausted() knows it.
    [[nodiscard]] virtual int memory_code() const noexcept = 0;
    // Whether an error answers a cancel.
    [[nodiscard]] virtual bool cancelled(int code) const noexcept = 0;
};

struct BackendOptions {
    unsigned ring_entries{256};   // submission entries of an io_uring
    bool shared{false};           // any thread may run it, one at a time
    unsigned posted_accepts{32};  // accepts that stand posted for a subscription to a listener
    std::shared_ptr<sim::World> world{};  // the model to run on instead of the system
};

// Why a backend was chosen, or refused.
struct BackendReason {
    std::string text;
    int code{0};  // the system's error number of a refusal; 0: the system was not asked
    // The refusal is for want of descriptors or memory, and may be over when some are given back.
    bool exhausted{false};
};

// Makes the backend called `name` ("auto" picks the best; a world in the options goes before it),
// or returns null.
std::unique_ptr<Backend> make_backend(std::string_view name, BufferPool& pool,
                                      const BackendOptions& options, BackendReason& reason);

// What one look at a backend says of it.
struct Surveyed {
    std::string name;
    std::string state;                     // "ok", or the reason it is refused here
    std::map<std::string, bool> features;  // what it can do here; empty if it is refused
};

// Every backend of this platform, each made once: what the first one locks, the system may count
// against the next for a while.
std::vector<Surveyed> survey_backends();

// Raised in every forked child: ports made before the fork belong to the parent.
std::uint32_t fork_generation() noexcept;

std::size_t system_page_size() noexcept;

}  // namespace iocp
