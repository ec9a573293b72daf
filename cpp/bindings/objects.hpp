#pragma once

// The Python objects of the hot path: raw heap types, visible to the collector.
#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "bindings/compat.hpp"
#include "core/event.hpp"
#include "core/port.hpp"

namespace iocp::py {

enum class ErrorClass : std::uint8_t {
    error,
    cancelled,
    timed_out,
    socket_closed,
    port_closed,
    argument,
    argument_type,
    wrong_thread,
    port_running,
    forked,
    unavailable,
    exhausted,
    budget,
    nothing_due,
    still_pending,
};
inline constexpr std::size_t error_classes = 15;

// What one import of the module made; every port keeps it alive.
struct Types {
    PyTypeObject* buffer{nullptr};
    PyTypeObject* operation{nullptr};
    PyTypeObject* completion{nullptr};
    PyTypeObject* timer{nullptr};
    PyTypeObject* socket{nullptr};
    PyTypeObject* registered{nullptr};
    PyTypeObject* event{nullptr};
    PyObject* errors[error_classes]{};
    PyObject* routines_ran{nullptr};
    // As Python's errno module has them: on Windows these names stand for Winsock's numbers there.
    int timed_out_code{0};
    int no_buffers_code{0};
    int message_size_code{0};
    Types() = default;
    ~Types();
    Types(const Types&) = delete;
    Types& operator=(const Types&) = delete;
};

// Objects the port keeps alive because the kernel, or the queue, will still speak of them.
template <class T>
struct Links {
    T* previous{nullptr};
    T* next{nullptr};
    bool linked{false};
};

struct PortObject;
class Envelope;

struct BufferObject {
    PyObject_HEAD
    Region* region;
    std::byte* data;
    Py_ssize_t length;
    Py_ssize_t exports;
};

struct SocketObject {
    PyObject_HEAD
    PyObject* port;       // strong
    PortObject* binding;  // what `port` holds
    Socket* core;         // null once the socket is closed and told so
    PyObject* on_item;    // receive(): (socket, Buffer); receive_from(): and the sender;
                          // accept_each(): (socket)
    PyObject* on_close;   // (socket, exception or None)
    PyObject* on_error;   // (socket, exception): one failed accept or datagram
    PyObject* on_pause;   // (socket): too much is queued to send
    PyObject* on_resume;  // (socket): little enough again
    Links<SocketObject> links;
    std::int16_t family;
    std::int16_t protocol;
    std::uint8_t type;
    bool subscribed;
    bool ending;  // close(), abort() or detach() was called
};

// Who is told of the end of an operation.
enum class Tells : std::uint8_t { port, event, routine };

struct OperationObject {
    PyObject_HEAD
    SocketObject* socket;  // strong
    Operation* core;       // null once its completion was handed out
    PyObject* callback;    // or the Event, or the bound routine, as `tells` says
    PyObject* data;
    PyObject* accepted;
    PyObject* error;
    Envelope* envelope;  // owned; null where there is one buffer and no more
    Py_ssize_t transferred;
    Links<OperationObject> links;
    std::uint32_t sequence;
    std::int32_t flags;  // MSG_* that a receive came with
    Kind kind;
    Outcome outcome;
    bool settled;          // the result has been taken over from the core
    bool hands_out_block;  // its memory becomes the Buffer in `data`
    Tells tells;
    // Calls of result() that wait, and those that had it: then its Completion is nobody else's.
    std::atomic<std::uint16_t> claims;
};

struct CompletionObject {
    PyObject_HEAD
    PyObject* operation;  // null: a packet posted by the application
    PyObject* value;
};

struct TimerObject {
    PyObject_HEAD
    PyObject* port;
    PortObject* binding;
    Timer* core;  // null once fired or cancelled
    PyObject* callback;
    Links<TimerObject> links;
    double when;
};

// A packet posted by the application, until it is handed out.
struct PostedPacket {
    PyObject* value;
    PyObject* callback;
    Links<PostedPacket> links;
};

template <class T>
struct LinkedList {
    T* first{nullptr};

    void add(T& item) noexcept {
        item.links.previous = nullptr;
        item.links.next = first;
        item.links.linked = true;
        if (first != nullptr) {
            first->links.previous = &item;
        }
        first = &item;
    }
    void remove(T& item) noexcept {
        (item.links.previous != nullptr ? item.links.previous->links.next : first) =
            item.links.next;
        if (item.links.next != nullptr) {
            item.links.next->links.previous = item.links.previous;
        }
        item.links = {};
    }
};

// What was handed out: its slots are given back, with the port's lock, before anything else happens
// to their sockets.
struct Retired {
    std::vector<Operation*> operations;
    std::vector<Socket*> sockets;
};

// Mutual exclusion of attached threads where there is no GIL; nothing where there is one.
class AttachedMutex {
public:
#ifdef Py_GIL_DISABLED
    void lock() noexcept { PyMutex_Lock(&mutex_); }
    void unlock() noexcept { PyMutex_Unlock(&mutex_); }

private:
    PyMutex mutex_{};
#else
    void lock() noexcept {}
    void unlock() noexcept {}
#endif
};

// What the Python object Port holds.
struct PortObject final : Audience {
    PortObject(Types* made_types, PyObject* types_reference, const PortOptions& options,
               const std::string& backend_name);
    ~PortObject() override;
    PortObject(const PortObject&) = delete;
    PortObject& operator=(const PortObject&) = delete;
    // pybind11 takes raw memory for an object whose __init__() has not run: there is none. Raises.
    static void* operator new(std::size_t bytes);
    static void operator delete(void* made) { ::operator delete(made); }

    Types* types;
    PyObject* types_reference;
    BufferPool* pool{nullptr};
    std::unique_ptr<Port> core;
    std::string backend_name;
    std::string backend_reason;
    std::uint32_t fork_generation;
    bool closed{false};
    bool stopping{false};
    // Of several threads: how many are in run(), and how often all of them were stopped.
    unsigned running{0};
    unsigned stops{0};
    bool takes_routines{false};  // a thread's own: its sockets count as attached to none
    std::mutex runner;           // held by the thread that runs the port
    std::atomic<unsigned long> runner_thread{0};
    std::atomic<bool> lent{false};        // to a thread that only waits, and gives way
    std::atomic<unsigned> contenders{0};  // threads that mean to run it, which it gives way to
    bool polled{false};                   // the get() under way has waited once
    std::vector<Ready> inbox;             // taken from the core; handed out up to `next_ready`
    std::size_t next_ready{0};
    std::vector<PyObject*> unclaimed;  // completions whose get_batch() was interrupted
    Retired retired;
    PyObject* error_handler{nullptr};
    // How a receive buffer that was set to 0 reads back; negative while none was.
    std::atomic<int> least_receive_buffer{-1};
    AttachedMutex links_mutex;
    LinkedList<OperationObject> operations;
    LinkedList<SocketObject> sockets;
    LinkedList<TimerObject> timers;
    LinkedList<PostedPacket> packets;
    WaiterList waiters;                // threads that need its turns, or an operation of it
    std::atomic<unsigned> waiting{0};  // how many those are

    bool finished(Operation& op) noexcept override;
    int traverse(visitproc visit, void* argument) const;
    void clear();
    void drop(Ready& ready);
    [[nodiscard]] bool forked() const noexcept {
        return iocp::fork_generation() != fork_generation;
    }
};

// The right to run a port, if nobody has it: not another thread, nor this one's own caller.
class RunnerHold {
public:
    enum class For : std::uint8_t { running, waiting };

    explicit RunnerHold(PortObject& port, For what = For::running) : port_(port) {
        (void)acquire(what);
    }
    // Whoever waits for the port's turns has to see that nobody makes them any more.
    ~RunnerHold() {
        if (held_) {
            release();
            std::atomic_thread_fence(std::memory_order_seq_cst);
            if (port_.waiting.load(std::memory_order_relaxed) != 0) {
                const std::lock_guard lock(Event::mutex());
                port_.waiters.notify_all();
            }
        }
    }
    RunnerHold(const RunnerHold&) = delete;
    RunnerHold& operator=(const RunnerHold&) = delete;

    [[nodiscard]] bool held() const noexcept { return held_; }
    bool acquire(For what = For::running) {
        held_ = port_.runner.try_lock();
        if (held_) {
            port_.runner_thread.store(PyThread_get_thread_ident());
            port_.lent.store(what == For::waiting);
        }
        return held_;
    }
    // Without a word: who could not run the port leaves it as it was.
    void give_up() noexcept {
        if (std::exchange(held_, false)) {
            release();
        }
    }
    // Whether this thread may wait on the port's behalf: it runs it here, or in a caller.
    [[nodiscard]] bool here() const noexcept {
        return held_ || port_.runner_thread.load() == PyThread_get_thread_ident();
    }

private:
    void release() noexcept {
        port_.runner_thread.store(0);
        port_.lent.store(false);
        port_.runner.unlock();
    }

    PortObject& port_;
    bool held_{false};
};

// Runs `work` with the port's lock held. `work` never touches Python: when the lock is taken the
// thread detaches to wait for it, so that no thread ever waits for a lock while attached.
template <class Work>
auto locked(PortObject& port, Work&& work) {
    std::mutex& mutex = port.core->mutex();
    if (mutex.try_lock()) {
        const std::lock_guard guard(mutex, std::adopt_lock);
        return work();
    }
    decltype(work()) result{};
    detached([&] {
        const std::lock_guard guard(mutex);
        result = work();
    });
    return result;
}

template <class T>
void link(PortObject& port, LinkedList<T>& list, T& item) {
    const std::lock_guard guard(port.links_mutex);
    list.add(item);
}
// Whether it was linked: of several threads exactly one is told so.
template <class T>
bool unlink(PortObject& port, LinkedList<T>& list, T& item) {
    const std::lock_guard guard(port.links_mutex);
    if (!item.links.linked) {
        return false;
    }
    list.remove(item);
    return true;
}

// errors.cpp
PyObject* make_exception(PortObject* port, const Types& types, const Error& error);
PyObject* raise(PortObject* port, const Types& types, const Error& error);
PyObject* raise(const Types& types, ErrorClass which, int code, const char* text);
// A class of iocp_sock.warning: a new reference, or null with the exception set.
PyObject* warning_class(const char* name);
bool load_errors(Types& types);

// buffer_object.cpp
PyTypeObject* make_buffer_type(PyObject* module);
PyObject* new_buffer(const Types& types, Slice slice);

// lease.cpp
bool lease_bytes(const Types& types, PyObject* source, Lease& out);
bool lease_writable(const Types& types, PyObject* target, Lease& out);
using LeaseOne = bool(const Types& types, PyObject* object, Lease& out);
// Each of an iterable of buffers. False: exception set, and what was leased is in `leases`.
bool lease_each(const Types& types, PyObject* buffers, LeaseOne* lease_one,
                std::vector<Lease>& leases, std::vector<ConstBytes>& parts, std::size_t& total);

// registered_object.cpp
PyTypeObject* make_registered_type(PyObject* module);
PyObject* new_registered(PyObject* port, PortObject& binding, std::size_t bytes);

// operation_object.cpp
PyTypeObject* make_operation_type(PyObject* module);
PyTypeObject* make_completion_type(PyObject* module);
OperationObject* new_operation(SocketObject& socket, Kind kind, PyObject* callback);
void settle(OperationObject& operation);
// Whether the result is final; it is then taken over from the core.
bool is_done(OperationObject& operation);
// What a finished receive into a block of the pool got: `lease`, or the envelope's, becomes `data`.
void take_block(OperationObject& operation, const Types& types, Lease& lease);
PyObject* new_completion(const Types& types, PyObject* operation, PyObject* value);
const char* kind_name(Kind kind) noexcept;

// operation_result.cpp
PyObject* operation_result(PyObject* self, PyObject* const* given, Py_ssize_t count,
                           PyObject* keywords);

// timer_object.cpp
PyTypeObject* make_timer_type(PyObject* module);
PyObject* new_timer(PyObject* port, PortObject& binding, double delay, PyObject* callback);

// socket_object.cpp
PyTypeObject* make_socket_type(PyObject* module);
SocketObject* new_socket(PyObject* port, PortObject& binding, Socket* core);
// In two steps: the object first, and, with the port's lock held, what it stands for.
SocketObject* blank_socket(PyObject* port, PortObject& binding);
void attach(SocketObject& socket, Socket& core) noexcept;
extern PyMethodDef operation_methods[];     // socket_operations.cpp
extern PyMethodDef message_methods[];       // socket_messages.cpp
extern PyMethodDef subscription_methods[];  // socket_subscriptions.cpp
extern PyMethodDef option_methods[];        // socket_options.cpp
extern PyGetSetDef option_properties[];
extern PyMethodDef flow_methods[];  // socket_flow.cpp
extern PyGetSetDef flow_properties[];
// 'pooled', 'direct', 'zero_byte', or 'adaptive': no value. False with an exception set.
bool to_strategy(const Types& types, PyObject* given, std::optional<Receive>& out);
extern PyGetSetDef tuning_properties[];  // socket_tuning.cpp

// hand_over.cpp
// The result of a finished operation goes to its object, its memory back; the slot stays.
void conclude(PortObject& port, Operation& core);
// Settles and retires the finished operations that went aside. Returns how many there were.
Py_ssize_t hand_over(PortObject& port);
// Gives up the completions kept for get() that result() has told of. For who runs the port.
void drop_claimed(PortObject& port);

// dispatch.cpp
// Polls once, up to `deadline`, unless something polled before is still to be handed out.
Error poll_port(PortObject& port, std::int64_t deadline);
// The same; false with an exception set, which may be a signal's.
bool poll_once(PyObject* self, PortObject& port, std::int64_t deadline);
// Hands out what was polled. With `wanted`, stops at the first completion that has no callback and
// returns it there. -1 with an exception set; else the number handed out.
Py_ssize_t dispatch(PyObject* self, PortObject& port, PyObject** wanted);
// Hands out one record. With `wanted`, a completion that has no callback is returned there. False:
// an exception is set.
bool hand_out_one(PyObject* self, PortObject& port, Ready& ready, Retired& retired,
                  PyObject** wanted);
void retire_handed_out(PortObject& port, Retired& retired);
std::int64_t deadline_after(const PortObject& port, double seconds);

// Whether the port can be used: false with an exception set.
bool usable(PortObject& port);

// Sets an attribute-like field and gives up what it held.
inline void assign(PyObject*& field, PyObject* value) noexcept {
    PyObject* old = field;
    field = value;
    Py_XDECREF(old);
}

}  // namespace iocp::py
