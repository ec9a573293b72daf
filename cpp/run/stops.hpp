#pragma once

namespace iocp::run {

// Counts the calls of stop() on a port. A stop ends every run() that is under way. If there is
// none, the stop is kept and ends the next run(). Every member needs the port's lock.
class Stops {
public:
    // One run() that is under way, from begin() to end().
    class Call {
    private:
        friend class Stops;

        unsigned from_{0};  // the number of stops when the call began
        unsigned seen_{0};  // the number of stops when the call last checked
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
    // Returns whether a stop has ended this run().
    [[nodiscard]] bool stopped(Call& call) const noexcept {
        call.seen_ = count_;
        return call.from_ != count_;
    }
    // Notes that this run() is over. If no other run() is under way, keeps a stop that this one has
    // not noticed for the next.
    void end(const Call& call) noexcept {
        --calls_;
        kept_ = calls_ == 0 && call.seen_ != count_;
    }

private:
    unsigned count_{0};  // the number of stops; only differences matter
    unsigned calls_{0};  // calls that are under way
    bool kept_{false};   // the last stop ends the next call
};

}  // namespace iocp::run
