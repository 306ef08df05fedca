// Internal to src/study.
//
// What the members of each cell recorded, put together for charts: gates and shares, how reliable
// probabilities are, which experts were drawn.
#pragma once

#include "base/document.h"
#include "study/table.h"

namespace graft {

// {values: [{cell, side, name, mean: [K], low, high, counts: [K][20]}], reliability: [{cell, side,
// bins: [[low, high, rows, confidence, accuracy]]}], routes: [{cell, name, counts: [E]}]}. Means
// are over members; counts and rows are added up, those of `values` over bins from the least to the
// greatest value of all members. Where members recorded no rows, values have the means of their
// last evaluation (side eval) alone.
Node recorded_node(const StudyStore& store, const StudyTable& table);

// Throws InputError "SOURCE: NAME: is damaged: ..." where a record is none that a run makes.
void check_records(const MemberResult& result, const std::string& source);

// "lora, cola": what a cell is called.
std::string cell_name(const ResultCell& cell);

}  // namespace graft
