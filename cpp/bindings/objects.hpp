#pragma once

// The Python objects of the hot path: raw heap types, visible to the collector.
#include <atomic>
#include <cstddef>
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
    T* previous{nowhere()};
    T* next{nullptr};

    [[nodiscard]] bool linked() const noexcept { return previous != nowhere(); }

private:
    // What stands for "in no list": an address that no item has.
    static T* nowhere() noexcept { return reinterpret_cast<T*>(&mark_); }
    alignas(std::max_align_t) static inline std::byte mark_{};
};

struct PortObject;
class Envelope;

// The link from an object to its counterpart in the core. The port's `links_mutex` is held to write
// it. A pointer that get() returned stays valid while the caller holds links_mutex or the port's
// lock: the slot is retired with the port's lock, after the link was cut. A second get() may return
// null, so a caller keeps what the first one returned.
template <class T>
class CoreSide {
public:
    [[nodiscard]] T* get() const noexcept { return at_.load(std::memory_order_acquire); }
    void set(T* core) noexcept { at_.store(core, std::memory_order_release); }
    [[nodiscard]] bool linked() const noexcept { return get() != nullptr; }

private:
    std::atomic<T*> at_;
};

struct BufferObject {
    PyObject_HEAD
    Region* region;
    std::byte* data;
    Py_ssize_t length;
    Py_ssize_t exports;
};

struct SocketObject {
    PyObject_HEAD
    PyObject* port;         // strong
    PortObject* binding;    // what `port` holds
    CoreSide<Socket> core;  // none once the socket is closed and told so
    PyObject* on_item;      // receive(): (socket, Buffer); receive_from(): and the sender;
                            // accept_each(): (socket). Once `blamed`: the exception of a callback
    PyObject* on_close;     // (socket, exception or None)
    PyObject* on_error;     // (socket, exception): one failed accept or datagram
    PyObject* on_pause;     // (socket): too much is queued to send
    PyObject* on_resume;    // (socket): little enough again
    PyObject* user;         // the caller's own; null stands for None
    Links<SocketObject> links;
    std::int16_t family;
    std::int16_t protocol;
    std::uint8_t type;
    std::atomic<std::uint8_t> subscribed;  // subscriptions whose completion was not handed out
    std::atomic<bool> ending;  // close(), abort() or detach() was called, or a callback raised
    // With links_mutex held:
    bool blamed : 1;       // a callback raised, which closes the socket
    bool subscribing : 1;  // a thread is in a call that posts a subscription
};

// An idle connection costs one of these, a block of 128 bytes together with its header: the
// collector's 16 bytes in front of PyObject, or, without a GIL, a PyObject that is 16 bytes longer.
static_assert(sizeof(void*) != 8 || sizeof(SocketObject) - sizeof(PyObject) <= 96);

// Who is told of the end of an operation.
enum class Tells : std::uint8_t { port, event, routine };

struct OperationObject {
    PyObject_HEAD
    SocketObject* socket;      // strong
    CoreSide<Operation> core;  // none once its completion was handed out
    PyObject* callback;        // or the Event, or the bound routine, as `tells` says
    PyObject* data;
    PyObject* accepted;  // accept(): made by the post, and what it got once it has settled
    PyObject* error;     // made of `failure` by the first who asks
    Envelope* envelope;  // owned; null where there is one buffer and no more
    Py_ssize_t transferred;
    Links<OperationObject> links;
    Error failure;
    std::uint32_t sequence;
    std::int32_t flags;  // MSG_* that a receive came with
    Kind kind;
    Outcome outcome;
    std::atomic<bool> settled;  // the result is the object's; stored after all of it
    bool hands_out_block;       // its memory becomes the Buffer in `data`
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
    CoreSide<Timer> core;  // none once fired or cancelled; written with the port's lock held
    PyObject* callback;
    Links<TimerObject> links;
    double when;
};

// A packet posted by the application, until it is handed out. Once the core has accepted it the
// list of the port owns it, and the thread that takes it from there deletes it; until then the
// poster does.
struct PostedPacket {
    PostedPacket(PyObject* given, PyObject* given_callback) noexcept
        : value(Py_NewRef(given)), callback(Py_XNewRef(given_callback)) {}
    ~PostedPacket() {
        Py_DECREF(value);
        Py_XDECREF(callback);
    }
    PostedPacket(const PostedPacket&) = delete;
    PostedPacket& operator=(const PostedPacket&) = delete;

    PyObject* value;
    PyObject* callback;
    Links<PostedPacket> links;
    // Written with the port's lock held; the end of the port reads it with links_mutex alone.
    std::atomic<bool> accepted{false};
};

template <class T>
struct LinkedList {
    T* first{nullptr};

    void add(T& item) noexcept {
        item.links.previous = nullptr;
        item.links.next = first;
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
// to their sockets. The lists go through the objects, so that they need no memory.
class Retired {
public:
    void add(Operation& op) noexcept { op.next_finished = std::exchange(operations_, &op); }
    void add(Socket& socket) noexcept { socket.next_closed = std::exchange(sockets_, &socket); }
    [[nodiscard]] bool empty() const noexcept {
        return operations_ == nullptr && sockets_ == nullptr;
    }
    // With the port's lock held.
    void give_back(Port& port) noexcept {
        while (operations_ != nullptr) {
            port.retire(*std::exchange(operations_, operations_->next_finished));
        }
        while (sockets_ != nullptr) {
            port.retire(*std::exchange(sockets_, sockets_->next_closed));
        }
    }

private:
    Operation* operations_{nullptr};
    Socket* sockets_{nullptr};
};

// Mutual exclusion of attached threads where there is no GIL; nothing where there is one. A thread
// that the fork did not copy may have it for ever, so a child does without.
class AttachedMutex {
public:
#ifdef Py_GIL_DISABLED
    void lock() noexcept {
        if (generation_ == iocp::fork_generation()) {
            PyMutex_Lock(&mutex_);
        }
    }
    void unlock() noexcept {
        if (generation_ == iocp::fork_generation()) {
            PyMutex_Unlock(&mutex_);
        }
    }

private:
    PyMutex mutex_{};
    std::uint32_t generation_{iocp::fork_generation()};
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
    BackendReason backend_reason;
    std::uint32_t fork_generation;
    std::atomic<bool> closed{false};  // set with the lock held, and never taken back
    std::atomic<bool> stopping{false};
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
    bool closes_on_error{true};  // a callback that raises closes its connection
    // How a receive buffer that was set to 0 reads back; negative while none was.
    std::atomic<int> least_receive_buffer{-1};
    // Guards the lists, the links between the core and its objects, and the callbacks that objects
    // store. A thread takes it attached, and neither detaches nor calls into Python while it has
    // it.
    AttachedMutex links_mutex;
    LinkedList<OperationObject> operations;
    LinkedList<SocketObject> sockets;
    LinkedList<TimerObject> timers;
    LinkedList<PostedPacket> packets;
    WaiterList waiters;                // threads that need its turns, or an operation of it
    std::atomic<unsigned> waiting{0};  // how many those are

    bool finished(Operation& op) noexcept override;
    // Makes room for a completion that this thread may keep for get().
    void expect_unclaimed() {
        const std::lock_guard guard(links_mutex);
        unclaimed.reserve(unclaimed.size() + 1);
    }
    int traverse(visitproc visit, void* argument) const;
    void clear();
    void drop(Ready& ready);
    void end_timers();
    // With the lock held: the port has ended. Its backend stays while a thread waits for the port.
    void mark_closed() noexcept;
    // The last thread that waited for it went on.
    void release_if_closed();
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

// Adds an item, and false where it is in the list already. What adds an object brings a reference,
// which is the list's from then on; what removes one takes that reference over.
template <class T>
bool link(PortObject& port, LinkedList<T>& list, T& item) {
    const std::lock_guard guard(port.links_mutex);
    if (item.links.linked()) {
        return false;
    }
    list.add(item);
    return true;
}
// Whether it was linked: of several threads exactly one is told so.
template <class T>
bool unlink(PortObject& port, LinkedList<T>& list, T& item) {
    const std::lock_guard guard(port.links_mutex);
    if (!item.links.linked()) {
        return false;
    }
    list.remove(item);
    return true;
}
// Removes any item of the list that is `wanted`; null once there is none.
template <class T, class Wanted>
T* unlink_any(PortObject& port, LinkedList<T>& list, Wanted&& wanted) {
    const std::lock_guard guard(port.links_mutex);
    T* item = list.first;
    while (item != nullptr && !wanted(*item)) {
        item = item->links.next;
    }
    if (item != nullptr) {
        list.remove(*item);
    }
    return item;
}
// The list keeps the object from here on, unless it does so already.
template <class T>
void hold(PortObject& port, LinkedList<T>& list, T& item) {
    auto* object = reinterpret_cast<PyObject*>(&item);
    Py_INCREF(object);
    if (!link(port, list, item)) {
        Py_DECREF(object);
    }
}
template <class T>
void give_up(PortObject& port, LinkedList<T>& list, T& item) {
    if (unlink(port, list, item)) {
        Py_DECREF(reinterpret_cast<PyObject*>(&item));
    }
}

// A new reference to the object that `user` of the core names; null where there is none, or it is
// being dropped.
template <class T>
T* object_of(PortObject& port, void* const& user) {
    const std::lock_guard guard(port.links_mutex);
    auto* object = static_cast<T*>(user);
    return object != nullptr && take_reference(reinterpret_cast<PyObject*>(object)) ? object
                                                                                    : nullptr;
}
// Cuts the link from the core's side: the object, even one that is being dropped, finds no core.
template <class T, class Core>
void cut_from_core(PortObject& port, Core& core) {
    const std::lock_guard guard(port.links_mutex);
    if (core.user != nullptr) {
        static_cast<T*>(core.user)->core.set(nullptr);
        core.user = nullptr;
    }
}
// The same from the object's side, before anything that may detach: an object without references
// must not be found. The name of what it stood for, if it was linked still.
template <class T>
std::optional<SlotId> cut_from_object(PortObject& port, T& object) {
    const std::lock_guard guard(port.links_mutex);
    auto* core = object.core.get();
    if (core == nullptr) {
        return std::nullopt;
    }
    core->user = nullptr;
    object.core.set(nullptr);
    return core->id;
}

// A new reference to a callback that an object stores, or null: another thread may replace it.
inline PyObject* stored(PortObject& port, PyObject* const& field) {
    const std::lock_guard guard(port.links_mutex);
    return Py_XNewRef(field);
}
// Stores `value`, whose reference it takes over, and returns what was there.
[[nodiscard]] inline PyObject* replaced(PortObject& port, PyObject*& field, PyObject* value) {
    const std::lock_guard guard(port.links_mutex);
    return std::exchange(field, value);
}
inline void forget(PortObject& port, PyObject*& field) {
    Py_XDECREF(replaced(port, field, nullptr));
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
// In two steps: an empty Buffer first, which nobody else may have seen when it is filled.
PyObject* blank_buffer(const Types& types);
void fill_buffer(PyObject* blank, Slice slice) noexcept;

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
// Takes the result over from the core, once, and without a call into Python. Precondition: the
// core's operation is completed.
void settle(OperationObject& operation);
// Whether the result is final; it is then taken over from the core.
bool is_done(OperationObject& operation);
// The error that it ended with, None where it did not: a new reference. Null: exception set.
PyObject* error_of(OperationObject& operation);
// How a receive ends whose bytes found no Buffer.
inline constexpr Error no_buffer =
    Error::of(Fault::resource, "no memory for the Buffer that was received");
// What a finished receive into a block of the pool got: `lease`, or the envelope's, becomes `data`,
// in the blank Buffer. False: there was no Buffer.
bool take_block(OperationObject& operation, PyObject* blank, Lease& lease) noexcept;
PyObject* new_completion(const Types& types, PyObject* operation, PyObject* value);
const char* kind_name(Kind kind) noexcept;

// operation_result.cpp
PyObject* operation_result(PyObject* self, PyObject* const* given, Py_ssize_t count,
                           PyObject* keywords);

// timer_object.cpp
PyTypeObject* make_timer_type(PyObject* module);
// Calls `callback` after so many nanoseconds.
PyObject* new_timer(PyObject* port, PortObject& binding, std::int64_t delay, PyObject* callback);
// Ends a core's timer that has fired. The object, which the caller takes from the port's list; null
// where the timer was stopped since.
TimerObject* take_fired(PortObject& port, Timer& core);
// Whether it was this call that kept the timer from firing: it has taken the object from the list.
bool stop_timer(PortObject& port, TimerObject& timer);

// socket_object.cpp
PyTypeObject* make_socket_type(PyObject* module);
// The object of a connection that was accepted. Without memory for it the connection is closed.
SocketObject* new_socket(PyObject* port, PortObject& binding, Socket& accepted);
// In two steps: the object first, and, before anybody else may find either, what it stands for:
// with the port's lock held where the core's socket is new, with links_mutex and a claim() to
// follow where it was accepted.
SocketObject* blank_socket(PyObject* port, PortObject& binding);
void attach(SocketObject& socket, Socket& core) noexcept;
void claim(PortObject& port, Socket& accepted);
// Closes the connection of a callback that raised, with what it raised for on_close. Listeners and
// datagram sockets, which serve others too, stay; so does what is closing already.
void close_for(SocketObject& socket, PyObject* exception);
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
// After the option was set: what was known of the socket's Nagle's algorithm holds no longer.
bool note_nodelay(SocketObject& socket);

// hand_over.cpp
// The result of a finished operation goes to its object, if it has one still, its memory back; the
// slot stays.
void conclude(PortObject& port, Operation& core, OperationObject* operation);
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

// Whether the port can be used: false with an exception set.
bool usable(PortObject& port);

}  // namespace iocp::py
