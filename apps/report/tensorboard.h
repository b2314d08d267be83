// The metrics of a run as an event file of TensorBoard.
#pragma once

#include <string>

#include "apps/report/run_record.h"

namespace mixgrad::app {

// The bytes of an event file: a record of the version, then one for each value: the tags are train/loss,
// validation/loss, train/lr, train/grad_norm and train/tokens_per_s. Values that were not measured are left out. Wall
// times count the seconds of training from 0, so that equal runs give equal bytes.
//   record: length (8 bytes, little-endian), masked CRC-32C of those, an Event as protocol buffer, masked CRC-32C of it
//   source: tensorflow/core/lib/io/record_writer.h, tensorflow/core/util/event.proto and framework/summary.proto
std::string tensorboard_events(const RunRecord& run);

}  // namespace mixgrad::app
