#pragma once

#include <memory>

namespace iocp {

// The one thread that may enter a ring. When a thread ends, the kernel ends its requests. So
// another thread may follow only after the first has left the kernel.
class Issuer {
public:
    // Makes an issuer that is no thread yet: any thread may be the first.
    Issuer() noexcept = default;
    // Returns the calling thread as an issuer. Throws std::bad_alloc if memory runs out.
    static Issuer this_thread();

    [[nodiscard]] bool is_this_thread() const noexcept;
    // Returns whether the calling thread may be the issuer now, as far as is known without a wait.
    [[nodiscard]] bool may_be_this_thread() const noexcept;
    // Returns whether the issuer has ended, and waits a while for that: a thread that was just
    // joined may still be on its way out of the kernel. Precondition: there is an issuer.
    [[nodiscard]] bool ends_in_time() const noexcept;

private:
    struct Thread;
    struct Own;
    static Own& own() noexcept;

    // Identifies the thread by an object, because the kernel reuses the id of an ended thread.
    // Null: no thread.
    std::shared_ptr<Thread> thread_;
};

}  // namespace iocp
