#pragma once

#include <memory>

namespace iocp {

// The one thread that may enter a ring. The kernel ends a thread's requests with the thread, so
// another one may follow only when that thread has left the kernel.
class Issuer {
public:
    // No thread yet: any may be the first.
    Issuer() noexcept = default;
    // Returns the calling thread. Without memory it throws.
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

    // Identifies the thread, because the kernel reuses the id of an ended one. Null: no thread.
    std::shared_ptr<Thread> thread_;
};

}  // namespace iocp
