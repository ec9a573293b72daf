#pragma once

// The part of the kernel's io_uring interface that this library uses. It is written down here
// because the headers of the building system are often older than the kernel that runs the package.
// Names follow io_uring_setup(2), io_uring_enter(2) and io_uring_register(2).
#include <cstddef>
#include <cstdint>

namespace iocp::uring {

inline constexpr long sys_setup = 425;
inline constexpr long sys_enter = 426;
inline constexpr long sys_register = 427;

struct SqOffsets {
    std::uint32_t head, tail, ring_mask, ring_entries, flags, dropped, array, resv1;
    std::uint64_t user_addr;
};
struct CqOffsets {
    std::uint32_t head, tail, ring_mask, ring_entries, overflow, cqes, flags, resv1;
    std::uint64_t user_addr;
};
struct Params {
    std::uint32_t sq_entries, cq_entries, flags, sq_thread_cpu, sq_thread_idle, features, wq_fd;
    std::uint32_t resv[3];
    SqOffsets sq_off;
    CqOffsets cq_off;
};
static_assert(sizeof(Params) == 120);

struct Sqe {
    std::uint8_t opcode;
    std::uint8_t flags;
    std::uint16_t ioprio;
    std::int32_t fd;
    std::uint64_t off;
    std::uint64_t addr;
    std::uint32_t len;
    std::uint32_t op_flags;
    std::uint64_t user_data;
    std::uint16_t buf_group;
    std::uint16_t personality;
    std::int32_t splice_fd_in;
    std::uint64_t addr3;
    std::uint64_t pad;
};
static_assert(sizeof(Sqe) == 64);

struct Cqe {
    std::uint64_t user_data;
    std::int32_t res;
    std::uint32_t flags;
};
static_assert(sizeof(Cqe) == 16);

struct GetEventsArg {
    std::uint64_t sigmask;
    std::uint32_t sigmask_sz;
    std::uint32_t min_wait_usec;
    std::uint64_t ts;
};
struct Timespec {
    std::int64_t sec;
    long long nsec;
};

// One entry of a ring of provided buffers. The ring's tail lies over `resv` of the first entry.
struct Buf {
    std::uint64_t addr;
    std::uint32_t len;
    std::uint16_t bid;
    std::uint16_t resv;
};
static_assert(sizeof(Buf) == 16);
static_assert(offsetof(Buf, resv) == 14);

struct BufReg {
    std::uint64_t ring_addr;
    std::uint32_t ring_entries;
    std::uint16_t bgid;
    std::uint16_t flags;
    std::uint64_t resv[3];
};
static_assert(sizeof(BufReg) == 40);

// A change of registered resources, from entry `offset` on.
struct RsrcUpdate {
    std::uint32_t offset, resv;
    std::uint64_t data, tags;
    std::uint32_t nr, resv2;
};
static_assert(sizeof(RsrcUpdate) == 32);
struct RsrcRegister {
    std::uint32_t nr, flags;
    std::uint64_t resv2, data, tags;
};
static_assert(sizeof(RsrcRegister) == 32);

// The kernel's answer to a probe: which io_uring operations it supports.
struct ProbeOp {
    std::uint8_t op, resv;
    std::uint16_t flags;
    std::uint32_t resv2;
};
struct Probe {
    std::uint8_t last_op, ops_len;
    std::uint16_t resv;
    std::uint32_t resv2[3];
    ProbeOp ops[64];
};
static_assert(sizeof(Probe) == 16 + 64 * sizeof(ProbeOp));
inline constexpr std::uint16_t probe_supported = 1;

inline constexpr std::uint32_t setup_cqsize = 1U << 3U;
inline constexpr std::uint32_t setup_clamp = 1U << 4U;
inline constexpr std::uint32_t setup_r_disabled = 1U << 6U;
inline constexpr std::uint32_t setup_submit_all = 1U << 7U;
inline constexpr std::uint32_t setup_coop_taskrun = 1U << 8U;
inline constexpr std::uint32_t setup_taskrun_flag = 1U << 9U;
inline constexpr std::uint32_t setup_single_issuer = 1U << 12U;
inline constexpr std::uint32_t setup_defer_taskrun = 1U << 13U;
inline constexpr std::uint32_t setup_no_sqarray = 1U << 16U;

inline constexpr std::uint32_t feat_single_mmap = 1U << 0U;
inline constexpr std::uint32_t feat_nodrop = 1U << 1U;
inline constexpr std::uint32_t feat_submit_stable = 1U << 2U;
inline constexpr std::uint32_t feat_ext_arg = 1U << 8U;

inline constexpr std::uint32_t feat_min_timeout = 1U << 15U;

// Flags that the kernel sets in the submission queue's memory.
inline constexpr std::uint32_t sq_cq_overflow = 1U << 1U;
inline constexpr std::uint32_t sq_taskrun = 1U << 2U;

inline constexpr std::uint32_t enter_getevents = 1U << 0U;
inline constexpr std::uint32_t enter_ext_arg = 1U << 3U;

inline constexpr unsigned register_probe = 8;
inline constexpr unsigned register_buffers = 15;
inline constexpr unsigned register_buffers_update = 16;
inline constexpr std::uint32_t rsrc_register_sparse = 1U << 0U;
inline constexpr unsigned register_enable_rings = 12;
inline constexpr unsigned register_pbuf_ring = 22;
inline constexpr std::uint16_t pbuf_ring_inc = 2;

inline constexpr std::uint8_t op_poll_add = 6;
inline constexpr std::uint8_t op_sendmsg = 9;
inline constexpr std::uint8_t op_recvmsg = 10;
inline constexpr std::uint8_t op_async_cancel = 14;
inline constexpr std::uint8_t op_send = 26;
inline constexpr std::uint8_t op_recv = 27;
inline constexpr std::uint8_t op_send_zc = 47;
inline constexpr std::uint8_t op_sendmsg_zc = 48;

inline constexpr std::uint8_t sqe_buffer_select = 1U << 5U;
inline constexpr std::uint8_t sqe_cqe_skip_success = 1U << 6U;

inline constexpr std::uint16_t send_fixed_buffer = 1U << 2U;
inline constexpr std::uint16_t recv_multishot = 1U << 1U;
inline constexpr std::uint32_t poll_add_multi = 1U << 0U;

inline constexpr std::uint32_t cqe_f_buffer = 1U << 0U;
inline constexpr std::uint32_t cqe_f_more = 1U << 1U;
inline constexpr std::uint32_t cqe_f_sock_nonempty = 1U << 2U;
inline constexpr std::uint32_t cqe_f_notif = 1U << 3U;
inline constexpr std::uint32_t cqe_f_buf_more = 1U << 4U;
inline constexpr unsigned cqe_buffer_shift = 16;

inline constexpr std::uint64_t offset_sq_ring = 0;
inline constexpr std::uint64_t offset_sqes = 0x10000000ULL;

}  // namespace iocp::uring
