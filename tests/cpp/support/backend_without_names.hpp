#pragma once

#include <cstddef>

#include "backend/backend.hpp"

namespace iocp::scripted {

// The base of the test backends. Their sockets have neither addresses nor options, so bind, listen
// and the calls on options succeed and do nothing.
class BackendWithoutNames : public Backend {
public:
    int describe_watched(Handle handle, Socket& out) override { return describe(handle, out); }
    int bind(Socket& /*socket*/, const Address& /*address*/) override { return 0; }
    int listen(Socket& /*socket*/, int /*backlog*/) override { return 0; }
    int name_of(const Socket& /*socket*/, bool /*peer*/, Address& /*out*/) override { return 0; }
    int get_option(const Socket& /*socket*/, int /*level*/, int /*option*/, void* /*value*/,
                   std::size_t& /*length*/) override {
        return 0;
    }
    int set_option(const Socket& /*socket*/, int /*level*/, int /*option*/, const void* /*value*/,
                   std::size_t /*length*/) override {
        return 0;
    }
};

}  // namespace iocp::scripted
