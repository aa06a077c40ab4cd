// Doubly linked list through its elements: no allocation, removal in constant time, an element
// leaves by itself when it is destroyed. Not thread-safe; the owner of the list locks.
#pragma once

namespace loom::vcl {

// An object may be in several lists: one base per list, told apart by Tag.
template <class Tag>
class ListNode {
 public:
  ListNode() = default;
  ~ListNode() { unlink(); }
  ListNode(const ListNode&) = delete;
  ListNode& operator=(const ListNode&) = delete;

  bool linked() const noexcept { return next_ != nullptr; }
  void unlink() noexcept {
    if (!next_) return;
    next_->prev_ = prev_;
    prev_->next_ = next_;
    next_ = prev_ = nullptr;
  }

 private:
  template <class T, class>
  friend class List;
  ListNode* next_ = nullptr;
  ListNode* prev_ = nullptr;
};

template <class T, class Tag>
class List {
  using Node = ListNode<Tag>;

 public:
  List() noexcept { head_.next_ = head_.prev_ = &head_; }
  ~List() {
    while (!empty()) front().Node::unlink();
    head_.next_ = nullptr;  // not in any list: the head's destructor has nothing to unlink
  }
  List(const List&) = delete;
  List& operator=(const List&) = delete;

  bool empty() const noexcept { return head_.next_ == &head_; }
  T& front() noexcept { return *static_cast<T*>(head_.next_); }
  void push_back(T& element) noexcept {
    Node& n = element;
    n.prev_ = head_.prev_;
    n.next_ = &head_;
    head_.prev_->next_ = &n;
    head_.prev_ = &n;
  }
  // f may unlink the element it gets, and no other.
  template <class F>
  void for_each(F&& f) {
    for (Node* n = head_.next_; n != &head_;) {
      Node* next = n->next_;
      f(*static_cast<T*>(n));
      n = next;
    }
  }

 private:
  Node head_;
};

}  // namespace loom::vcl
