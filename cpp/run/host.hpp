#pragma once

#include <cstddef>

namespace iocp::run {

class Inbox;
class RunnablePort;

// A reference to a call that may block, valid while Host::detach() runs.
class Blocking {
public:
    template <class Call>
    explicit Blocking(Call& call) noexcept
        : object_(&call), invoke_([](void* object) { (*static_cast<Call*>(object))(); }) {}

    void operator()() const { invoke_(object_); }

private:
    void* object_;
    void (*invoke_)(void*);
};

// The result of Host::dispatch().
struct Dispatched {
    std::size_t count{0};  // completions that were handed out
    bool kept{false};      // a completion was kept for a later get() of any thread
};

// Connects one call of run/ with the program that makes it, such as a Python interpreter. Each call
// has a host of its own, which also decides where completions without a callback go.
//
// A host outlives every object of run/ that refers to it, such as a Runner, a WorkerCall or a Wait,
// because their destructors may call its hooks. So each call makes its host first.
class Host {
public:
    // `interrupt` is a Windows event that an interrupt of the program (Ctrl-C) sets. It is null on
    // systems where a signal ends every sleep.
    explicit Host(void* interrupt = nullptr) noexcept : interrupt_(interrupt) {}
    virtual ~Host() = default;
    Host(const Host&) = delete;
    Host& operator=(const Host&) = delete;

    // Makes a call that may block, in the way that the program requires: a thread of an interpreter
    // detaches from it. Throws only the call's exceptions.
    virtual void detach(Blocking call) = 0;
    // Checks for signals of the program, between two waits. May throw.
    virtual void signals() = 0;
    // Hands out the notified completions of the port, then the records of the inbox, until the
    // caller has enough, or the thread has to give the port up (RunnerLock::gives_way). Takes each
    // record before it hands it out. May throw, and then leaves the other records in the inbox.
    virtual Dispatched dispatch(RunnablePort& port, Inbox& inbox) = 0;

    [[nodiscard]] void* interrupt() const noexcept { return interrupt_; }

private:
    void* interrupt_;
};

}  // namespace iocp::run
