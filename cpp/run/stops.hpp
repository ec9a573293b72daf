#pragma once

namespace iocp::run {

// The stops of a port. A stop ends every run() that is under way; without one it is kept for the
// next. Everything needs the port's lock.
class Stops {
public:
    // One run() that is under way, from begin() to end().
    class Call {
    private:
        friend class Stops;

        unsigned from_{0};  // the count when the call began
        unsigned seen_{0};  // the count when the call last asked
    };

    void stop() noexcept {
        ++count_;
        kept_ = calls_ == 0;
    }
    void begin(Call& call) noexcept {
        ++calls_;
        call.from_ = call.seen_ = count_ - (kept_ ? 1U : 0U);
        kept_ = false;
    }
    // Returns whether the call was stopped.
    [[nodiscard]] bool stopped(Call& call) const noexcept {
        call.seen_ = count_;
        return call.from_ != count_;
    }
    // Ends the call. If no other call is under way, keeps, for the next call, a stop that this one
    // has not noticed.
    void end(const Call& call) noexcept {
        --calls_;
        kept_ = calls_ == 0 && call.seen_ != count_;
    }

private:
    unsigned count_{0};  // of all stops; only differences matter
    unsigned calls_{0};  // under way
    bool kept_{false};   // the last stop ends the next call
};

}  // namespace iocp::run
