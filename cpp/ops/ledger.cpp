#include "ops/ledger.hpp"

#include <cassert>

namespace iocp {

Ledger::Ledger(std::size_t page_size, std::size_t budget_bytes) noexcept
    : page_size_(page_size), budget_bytes_(budget_bytes) {}

Ledger::~Ledger() { assert(now_ == 0 && "every receipt is refunded before its ledger dies"); }

bool Ledger::fits(std::size_t pages) const noexcept {
    if (budget_bytes_ == 0) {
        return true;
    }
    const std::size_t taken = static_cast<std::size_t>(now_) * page_size_ + registered_bytes_;
    return taken <= budget_bytes_ && pages <= (budget_bytes_ - taken) / page_size_;
}

bool Ledger::could_fit(std::size_t pages) const noexcept {
    return budget_bytes_ == 0 || (registered_bytes_ <= budget_bytes_ &&
                                  pages <= (budget_bytes_ - registered_bytes_) / page_size_);
}

Ledger::Receipt Ledger::charge(ChargeKind kind, std::uint32_t pages,
                               std::uint32_t& account) noexcept {
    assert(fits(pages) && "a charge never passes the budget");
    Receipt receipt;
    if (pages == 0) {
        return receipt;
    }
    now_ += pages;
    by_kind_[static_cast<std::size_t>(kind)] += pages;
    account += pages;
    if (now_ > peak_) {
        peak_ = now_;
    }
    receipt.ledger_ = this;
    receipt.account_ = &account;
    receipt.pages_ = pages;
    receipt.kind_ = kind;
    return receipt;
}

void Ledger::Receipt::refund() noexcept {
    if (ledger_ == nullptr) {
        return;
    }
    assert(ledger_->now_ >= pages_ && *account_ >= pages_);
    ledger_->now_ -= pages_;
    ledger_->by_kind_[static_cast<std::size_t>(kind_)] -= pages_;
    *account_ -= pages_;
    ledger_ = nullptr;
    pages_ = 0;
}

}  // namespace iocp
