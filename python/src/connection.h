// A connection with a thread of its own, so that any number of Python threads and event loops can
// use it: requests are posted to the thread, and their outcomes are handed over there. No Python
// in here; callbacks run on the connection's thread.
#pragma once
#include <atomic>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <nlohmann/json.hpp>
#include <string>
#include <thread>
#include <unordered_map>
#include <vector>

#include <hostloom/status.h>

#include "client/async_client.h"
#include "client/schema.h"

namespace loom::python {

class Connection {
 public:
  struct Answer {
    nlohmann::json reply;                 // null for a dump
    std::vector<nlohmann::json> details;  // of a dump or a cursor-style get
  };
  using Done = std::function<void(Result<Answer>)>;
  using Ticket = uint64_t;  // names a request, also one that has not reached the thread yet

  // Starts the thread, which connects, loads the daemon's schema, and calls `ready` on success and
  // failure. Any thread may call the functions below, once that was a success.
  Connection(std::string path, ClientOptions options, std::function<void(Result<void>)> ready);
  ~Connection();
  Connection(const Connection&) = delete;

  // `done` is called once, unless the request is cancelled; kClosed after close().
  Ticket start(std::string request, nlohmann::json values, std::chrono::milliseconds timeout,
               Done done);
  void cancel(Ticket ticket);
  // `each` gets every event of a kind until unsubscribe(); one that is under way may still come
  // then. `failed` is called when there is no such event, or when the connection ends.
  Ticket subscribe(std::string event, std::function<void(nlohmann::json)> each,
                   std::function<void(const Error&)> failed);
  void unsubscribe(Ticket ticket);
  // Ends what is in flight with kClosed and waits for the thread's end; so does whoever else calls
  // it meanwhile. Not from a callback.
  void close();

  bool is_its_thread() const { return std::this_thread::get_id() == thread_.get_id(); }

  const ApiSchema& schema() const { return *schema_; }
  std::vector<std::string> table() const { return table_; }

 private:
  struct Request {
    AsyncClient::RequestId id;
    std::shared_ptr<Done> done;
  };
  struct Subscription {
    AsyncClient::SubscriptionId id;
    std::function<void(const Error&)> failed;
  };
  void run();
  void connected(Result<AsyncClient> client, const std::function<void(Result<void>)>& ready);
  void start_here(Ticket ticket, const std::string& request, nlohmann::json values,
                  std::chrono::milliseconds timeout, Done done);
  void subscribe_here(Ticket ticket, const std::string& event,
                      std::function<void(nlohmann::json)> each,
                      std::function<void(const Error&)> failed);
  void end_all(const Error& why);
  // False, and nothing happens, after close().
  template <class F>
  bool post(F f);

  boost::asio::io_context io_{1};
  boost::asio::executor_work_guard<boost::asio::io_context::executor_type> work_{
      io_.get_executor()};
  int pid_;  // the thread is not in a child that was forked
  std::atomic<Ticket> last_ticket_ = 0;
  std::mutex mutex_;  // nothing is posted behind the task that ends the thread
  bool is_closed_ = false;
  std::mutex joining_;
  // Written before `ready` is called, read afterwards.
  std::shared_ptr<const ApiSchema> schema_;
  std::vector<std::string> table_;
  // The thread's.
  AsyncClient client_;
  std::unordered_map<Ticket, Request> requests_;
  std::unordered_map<Ticket, Subscription> subscriptions_;
  std::thread thread_;
};

}  // namespace loom::python
