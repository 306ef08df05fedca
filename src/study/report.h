// A study as one web page that needs no network: tables, comparisons, ranks, members and settings.
#pragma once

#include <string>
#include <vector>

#include "base/document.h"
#include "study/table.h"

namespace graft {

// One study of a page.
struct ReportedStudy {
  const StudyStore* store = nullptr;
  StudyTableOptions options = {};
  Node search = Node::null();  // the content of its search.json, where there is one
};

// Throws InputError where make_table does.
std::string report_page(const std::vector<ReportedStudy>& studies);

}  // namespace graft
