// Issuer: which thread may enter a ring, and when another thread may take over.
#ifdef __linux__
#include "backend/linux/issuer.hpp"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <functional>
#include <future>
#include <thread>

namespace iocp {
namespace {

// A thread that lives until end(), or the end of the test.
class OtherThread {
public:
    OtherThread() { issuer_ = made_.get_future().get(); }
    ~OtherThread() { end(); }
    OtherThread(const OtherThread&) = delete;
    OtherThread& operator=(const OtherThread&) = delete;
    void end() {
        if (thread_.joinable()) {
            over_.set_value();
            thread_.join();
        }
    }
    [[nodiscard]] const Issuer& issuer() const { return issuer_; }

private:
    std::promise<Issuer> made_;
    std::promise<void> over_;
    std::thread thread_{[this] {
        made_.set_value(Issuer::this_thread());
        over_.get_future().wait();
    }};
    Issuer issuer_;
};

bool in_a_thread(const std::function<bool()>& asks) {
    bool answer = false;
    std::thread([&] { answer = asks(); }).join();
    return answer;
}

// Calls asks() in a forked child, and returns its answer.
bool in_a_child(const std::function<bool()>& asks) {
    const pid_t child = ::fork();
    if (child == 0) {
        ::_exit(asks() ? 1 : 0);
    }
    int status = 0;
    EXPECT_EQ(::waitpid(child, &status, 0), child);
    EXPECT_TRUE(WIFEXITED(status));
    return WEXITSTATUS(status) == 1;
}

TEST(IssuerTest, AnyThreadMayBeTheFirst) {
    const Issuer none;
    EXPECT_FALSE(none.is_this_thread());
    EXPECT_TRUE(none.may_be_this_thread());
    EXPECT_TRUE(in_a_thread([&] { return none.may_be_this_thread(); }));
}

TEST(IssuerTest, AThreadKnowsItself) {
    const Issuer self = Issuer::this_thread();
    EXPECT_TRUE(self.is_this_thread());
    EXPECT_TRUE(self.may_be_this_thread());
    EXPECT_TRUE(Issuer::this_thread().is_this_thread());
    EXPECT_FALSE(in_a_thread([&] { return self.is_this_thread(); }));
    EXPECT_FALSE(in_a_thread([&] {
        (void)Issuer::this_thread();
        return self.is_this_thread() || self.may_be_this_thread();
    }));
}

TEST(IssuerTest, NoThreadFollowsOneThatLives) {
    const OtherThread other;
    EXPECT_FALSE(other.issuer().is_this_thread());
    EXPECT_FALSE(other.issuer().may_be_this_thread());
    EXPECT_FALSE(other.issuer().ends_in_time());
}

TEST(IssuerTest, AThreadFollowsOneThatHasEnded) {
    OtherThread other;
    other.end();
    EXPECT_TRUE(other.issuer().ends_in_time());
    EXPECT_TRUE(other.issuer().may_be_this_thread());
    EXPECT_FALSE(other.issuer().is_this_thread());
}

// A thread_local object. At the end of its thread it calls `at_end`, after the destructors of all
// thread_local objects that were made later.
struct Lingering {
    std::function<void()> at_end;
    ~Lingering() {
        if (at_end) {
            at_end();
        }
    }
};
thread_local Lingering lingering;

// The system may give the id of an ended thread to another one. In this test the ended thread
// itself still has its id.
TEST(IssuerTest, AnEndedThreadWhoseIdIsInUseIsFollowed) {
    std::promise<void> ended;
    std::promise<void> over;
    Issuer issuer;
    std::thread thread([&] {
        lingering.at_end = [&] {
            ended.set_value();
            over.get_future().wait();
        };
        issuer = Issuer::this_thread();
    });
    ended.get_future().wait();
    EXPECT_TRUE(issuer.may_be_this_thread());
    EXPECT_TRUE(issuer.ends_in_time());
    over.set_value();
    thread.join();
}

TEST(IssuerTest, AThreadThatHasEndedIsNoOtherThread) {
    Issuer before;
    in_a_thread([&] {
        before = Issuer::this_thread();
        return true;
    });
    for (int i = 0; i < 100; ++i) {
        EXPECT_TRUE(in_a_thread([&] {
            const Issuer self = Issuer::this_thread();
            return self.is_this_thread() && !before.is_this_thread() && before.may_be_this_thread();
        }));
    }
}

TEST(IssuerTest, AForkedChildIsNotTheThreadThatForked) {
    const Issuer self = Issuer::this_thread();
    EXPECT_FALSE(in_a_child([&] { return self.is_this_thread(); }));
    EXPECT_TRUE(in_a_child([&] { return Issuer::this_thread().is_this_thread(); }));
    EXPECT_TRUE(self.is_this_thread());
}

}  // namespace
}  // namespace iocp
#endif
