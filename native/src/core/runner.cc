#include "core/runner.h"

namespace skein {

Status Runner::Create(std::shared_ptr<Device> device, Program program, std::unique_ptr<Runner>* out) {
  std::unique_ptr<Runner> runner(new Runner(std::move(device), std::move(program)));
  if (Status s = runner->cache_.Allocate(runner->program_.spec.kv_cache); !s.ok()) return s;
  if (Status s = runner->executor_->Init(*runner->device_); !s.ok()) return s;
  runner->thread_ = std::thread([r = runner.get()] { r->Work(); });
  *out = std::move(runner);
  return Status::Ok();
}

Runner::~Runner() { Close(); }

void Runner::Load(WeightStore::Progress progress, LoadDone done) {
  Enqueue({.words = {}, .progress = std::move(progress), .load_done = std::move(done), .step_done = {}});
}

void Runner::Run(std::vector<int32_t> words, std::chrono::milliseconds deadline, StepDone done) {
  Enqueue({.words = std::move(words),
           .deadline = deadline,
           .progress = {},
           .load_done = {},
           .step_done = std::move(done)});
}

void Runner::Enqueue(Job job) {
  Status refused;
  {
    std::lock_guard lock(mutex_);
    if (closed_) {
      refused = {Code::kAborted, "the program is closed"};
    } else if (queue_.size() >= kMaxQueued) {
      refused = {Code::kInvalidArgument, std::to_string(queue_.size()) + " steps are queued already"};
    } else {
      queue_.push_back(std::move(job));
    }
  }
  if (!refused.ok()) return Fail(job, refused);
  wake_.notify_one();
}

void Runner::Fail(Job& job, const Status& status) {
  if (job.load_done) job.load_done(status);
  if (job.step_done) job.step_done(status, {});
}

void Runner::Work() {
  std::unique_lock lock(mutex_);
  while (true) {
    wake_.wait(lock, [this] { return closed_ || !queue_.empty(); });
    if (closed_) return;
    Job job = std::move(queue_.front());
    queue_.pop_front();
    busy_ = true;
    cancelled_.store(false);
    lock.unlock();
    StepResult result;
    const Status status = job.load_done ? ExecuteLoad(job) : ExecuteStep(job, &result);
    lock.lock();
    // Before the callback: whoever is told that the step ended may reset or close.
    busy_ = false;
    lock.unlock();
    if (job.load_done) job.load_done(status);
    if (job.step_done) job.step_done(status, std::move(result));
    job = {};
    lock.lock();
  }
}

Status Runner::ExecuteLoad(const Job& job) {
  if (loaded_.load()) return {Code::kInvalidArgument, "the weights are loaded already"};
  WeightStore fresh;
  if (Status s = fresh.LoadCached(program_.spec, device_->instruction_level(), &device_->pool(), job.progress,
                                  cancelled_, &weight_cache_use_);
      !s.ok())
    return s;
  weights_ = std::move(fresh);
  loaded_.store(true);
  return Status::Ok();
}

Status Runner::ExecuteStep(const Job& job, StepResult* result) {
  if (!loaded_.load()) return {Code::kInvalidArgument, "the weights are not loaded"};
  own_processor_.Look(device_->pool().processor(0));
  std::lock_guard executing(executing_);
  return executor_->Run(job.words, Clock::now() + job.deadline, result);
}

void Runner::Abort() {
  std::deque<Job> dropped;
  {
    std::lock_guard lock(mutex_);
    dropped.swap(queue_);
    // Under the lock, so that the flag cannot hit a step queued after this call.
    if (busy_) cancelled_.store(true);
  }
  for (Job& job : dropped) Fail(job, {Code::kAborted, "the step was aborted before it started"});
}

Status Runner::Reset() {
  std::lock_guard lock(mutex_);
  if (busy_ || !queue_.empty()) return {Code::kInvalidArgument, "reset while a step runs or is queued"};
  if (executor_) executor_->ResetFeedback();
  return Status::Ok();
}

void Runner::KeepLogits(bool keep) {
  if (executor_) executor_->KeepLogits(keep);
}

bool Runner::CopyLogits(std::vector<float>* out) {
  std::lock_guard executing(executing_);
  return executor_ && executor_->CopyLogits(out);
}

std::vector<ExpertLoad> Runner::ExpertLoads() const {
  return executor_ ? executor_->ExpertLoads() : std::vector<ExpertLoad>{};
}

void Runner::BindSend(const std::string& peer, std::shared_ptr<SendChannel> channel) {
  if (executor_) executor_->channels().BindSend(peer, std::move(channel));
}

void Runner::BindReceive(const std::string& peer, std::shared_ptr<ReceiveChannel> channel) {
  if (executor_) executor_->channels().BindReceive(peer, std::move(channel));
}

void Runner::Close() {
  {
    std::lock_guard lock(mutex_);
    if (closed_) return;
    closed_ = true;
  }
  Abort();
  // A blocked send would hold the join until its deadline.
  executor_->channels().InterruptSend("the program was closed");
  wake_.notify_all();
  if (thread_.joinable()) thread_.join();
  executor_.reset();
  weights_ = WeightStore();
  cache_ = KVCache();
}

}  // namespace skein
