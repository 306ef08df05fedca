// Runs that no study planned, put together as one.
#pragma once

#include <vector>

#include "study/store.h"

namespace graft {

// A study called "runs" in memory, of finished run folders. Factors are the method (what the run
// calls its adapter), the task, and every setting in which the runs differ, but for the folder;
// options of the adapter where runs of one method differ in them. Answers by row are none. Throws
// InputError where a folder holds no finished run, or two are equal in all of these.
StudyStore study_of_runs(const std::vector<Path>& folders);

}  // namespace graft
