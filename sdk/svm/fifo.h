// Both sides of a fifo. See fifo_producer.h, fifo_consumer.h, and fifo_wake.h for the wake-ups.
#pragma once
#include "svm/fifo_consumer.h"
#include "svm/fifo_producer.h"
