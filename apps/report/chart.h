// Line charts: as SVG for pages and files, and as characters for a terminal.
#pragma once

#include <cstddef>
#include <string>
#include <utility>
#include <vector>

namespace mixgrad::app {

struct Series {
  std::string name;
  std::vector<std::pair<double, double>> points;  // x ascending; points that are not finite are left out
};

enum class Scale : unsigned char { linear, logarithmic };  // logarithmic leaves out what is not above 0

struct ChartTitles {
  std::string x, y;
};

// Tick marks from low to high, about `count` of them, at 1, 2 or 5 times powers of ten.
std::vector<double> chart_ticks(double low, double high, int count);

// With the classes of page/report.css and no colours of its own.
std::string svg_chart(const std::vector<Series>& series, const ChartTitles& titles, Scale y_scale);
// A file of its own, with colours and a legend.
std::string svg_chart_file(const std::vector<Series>& series, const ChartTitles& titles, Scale y_scale);

// `columns` wide and `rows` high with axes and legend; curves as letters a, b, ..., where several meet that of the
// last.
std::string terminal_chart(const std::vector<Series>& series, const ChartTitles& titles, Scale y_scale,
                           std::size_t columns, std::size_t rows);

}  // namespace mixgrad::app
