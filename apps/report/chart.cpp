#include "apps/report/chart.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <limits>

#include "apps/output/terminal.h"
#include "apps/report/html.h"

namespace mixgrad::app {
namespace {

constexpr int kWidth = 960, kHeight = 440, kLeft = 64, kRight = 12, kTop = 12, kBottom = 44;
constexpr std::array<const char*, 8> kColours{"#0550ae", "#bc4c00", "#1a7f37", "#8250df",
                                              "#bf3989", "#6e5600", "#0e7490", "#57606a"};
constexpr std::array<const char*, 4> kDashes{"", "7 3", "2 3", "9 3 2 3"};

std::string formatted(const char* format, double value) {
  char text[48];
  std::snprintf(text, sizeof text, format, value);
  return text;
}

std::string tick_text(double value) {
  const double size = std::abs(value);
  if (size >= 1e9) return formatted("%.3g G", value / 1e9);
  if (size >= 1e6) return formatted("%.3g M", value / 1e6);
  if (size >= 1e4) return formatted("%.3g k", value / 1e3);
  return formatted("%.4g", value);
}

// What can be drawn, and its range.
struct Drawing {
  std::vector<Series> series;
  double x0 = 0, x1 = 1, y0 = 0, y1 = 1;
  Scale scale;
  bool empty = true;

  Drawing(const std::vector<Series>& all, Scale y_scale) : scale(y_scale) {
    constexpr double kInfinity = std::numeric_limits<double>::infinity();
    x0 = y0 = kInfinity;
    x1 = y1 = -kInfinity;
    for (const Series& from : all) {
      Series kept{from.name, {}};
      for (const auto& [x, y] : from.points) {
        if (!std::isfinite(x) || !std::isfinite(y) || (scale == Scale::logarithmic && y <= 0)) continue;
        kept.points.emplace_back(x, y);
        x0 = std::min(x0, x);
        x1 = std::max(x1, x);
        y0 = std::min(y0, y);
        y1 = std::max(y1, y);
        empty = false;
      }
      series.push_back(std::move(kept));
    }
    if (empty) {
      x0 = y0 = 0;
      x1 = y1 = 1;
    }
    if (x0 == x1) {
      x0 -= 1;
      x1 += 1;
    }
    if (y0 == y1) {
      const double more = std::abs(y0) * 0.1 + 1e-9;
      y0 = scale == Scale::logarithmic ? y0 / 1.1 : y0 - more;
      y1 = scale == Scale::logarithmic ? y1 * 1.1 : y1 + more;
    }
  }

  double across(double x) const { return (x - x0) / (x1 - x0); }  // 0 to 1
  double up(double y) const {
    return scale == Scale::logarithmic ? std::log(y / y0) / std::log(y1 / y0) : (y - y0) / (y1 - y0);
  }
  std::vector<double> y_ticks() const {
    if (scale == Scale::linear) return chart_ticks(y0, y1, 6);
    std::vector<double> ticks;
    for (double power = std::pow(10, std::floor(std::log10(y0))); power <= y1; power *= 10) {
      for (const int factor : {1, 2, 5}) {
        if (factor * power >= y0 * 0.999 && factor * power <= y1 * 1.001) ticks.push_back(factor * power);
      }
    }
    if (ticks.size() < 2) return {y0, y1};
    return ticks;
  }
};

std::string dash_of(std::size_t index) {
  const char* dash = kDashes[index / kColours.size() % kDashes.size()];
  return dash[0] == 0 ? std::string() : std::string(" stroke-dasharray=\"") + dash + "\"";
}

std::string drawn(const Drawing& d, const ChartTitles& titles) {
  const auto sx = [&](double x) { return kLeft + d.across(x) * (kWidth - kLeft - kRight); };
  const auto sy = [&](double y) { return kHeight - kBottom - d.up(y) * (kHeight - kTop - kBottom); };
  const auto number = [](double value) { return formatted("%.1f", value); };
  const auto text = [&](double x, double y, const char* anchor, const std::string& shown) {
    return "<text x=\"" + number(x) + "\" y=\"" + number(y) + "\" text-anchor=\"" + anchor + "\">" + html_text(shown) +
           "</text>\n";
  };
  const auto line = [&](const char* kind, double xa, double ya, double xb, double yb) {
    return std::string("<line class=\"") + kind + "\" x1=\"" + number(xa) + "\" y1=\"" + number(ya) + "\" x2=\"" +
           number(xb) + "\" y2=\"" + number(yb) + "\"/>\n";
  };
  std::string svg;
  if (d.empty) return text(kWidth / 2.0, kHeight / 2.0, "middle", "No values of these runs");
  for (const double tick : d.y_ticks()) {
    svg += line("grid", kLeft, sy(tick), kWidth - kRight, sy(tick));
    svg += text(kLeft - 8, sy(tick) + 4, "end", tick_text(tick));
  }
  for (const double tick : chart_ticks(d.x0, d.x1, 8)) {
    svg += line("grid", sx(tick), kTop, sx(tick), kHeight - kBottom);
    svg += text(sx(tick), kHeight - kBottom + 18, "middle", tick_text(tick));
  }
  svg += line("axis", kLeft, kHeight - kBottom, kWidth - kRight, kHeight - kBottom);
  svg += text((kLeft + kWidth - kRight) / 2.0, kHeight - 6, "middle", titles.x + "; " + titles.y);
  for (std::size_t s = 0; s < d.series.size(); ++s) {
    const std::string kind = "c" + std::to_string(s % kColours.size());
    std::string path;
    for (const auto& [x, y] : d.series[s].points) {
      path.append(path.empty() ? "M" : "L").append(number(sx(x))).append(" ").append(number(sy(y)));
    }
    if (path.empty()) continue;
    svg.append("<path class=\"curve ").append(kind).append("\" d=\"").append(path).append("\"");
    svg += dash_of(s) + "><title>" + html_text(d.series[s].name) + "</title></path>\n";
  }
  return svg;
}

std::string head(int height, const ChartTitles& titles) {
  return "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 " + std::to_string(kWidth) + " " +
         std::to_string(height) + "\" role=\"img\" aria-label=\"" + html_text(titles.y + " over " + titles.x) + "\">\n";
}

}  // namespace

std::vector<double> chart_ticks(double low, double high, int count) {
  if (!(high > low)) return {low};
  const double raw = (high - low) / count;
  const double power = std::pow(10, std::floor(std::log10(raw)));
  double step = 10 * power;
  for (const int factor : {5, 2, 1}) {
    if (factor * power >= raw) step = factor * power;
  }
  std::vector<double> ticks;
  for (double i = std::ceil(low / step); i * step <= high + step * 1e-9; i += 1) ticks.push_back(i * step);
  return ticks;
}

std::string svg_chart(const std::vector<Series>& series, const ChartTitles& titles, Scale y_scale) {
  return head(kHeight, titles) + drawn(Drawing(series, y_scale), titles) + "</svg>\n";
}

std::string svg_chart_file(const std::vector<Series>& series, const ChartTitles& titles, Scale y_scale) {
  constexpr int kLegendLine = 18;
  std::string style =
      "<style>text{font:12px sans-serif;fill:#1b1f24}.grid{stroke:#d0d7de}.axis{stroke:#57606a}"
      ".curve{fill:none;stroke-width:1.8;stroke-linejoin:round}";
  for (std::size_t c = 0; c < kColours.size(); ++c) {
    style.append(".c").append(std::to_string(c)).append("{stroke:").append(kColours[c]).append("}");
  }
  std::string svg = head(kHeight + kLegendLine * static_cast<int>(series.size()) + 8, titles) + style + "</style>\n" +
                    drawn(Drawing(series, y_scale), titles);
  for (std::size_t s = 0; s < series.size(); ++s) {
    const std::string y = std::to_string(kHeight + kLegendLine * (static_cast<int>(s) + 1) - 4);
    svg += "<line class=\"curve c" + std::to_string(s % kColours.size()) + "\" x1=\"" + std::to_string(kLeft) +
           "\" x2=\"" + std::to_string(kLeft + 28);
    svg.append("\" y1=\"").append(y).append("\" y2=\"").append(y).append("\"");
    svg += dash_of(s) + "/><text x=\"" + std::to_string(kLeft + 36) + "\" y=\"" + std::to_string(std::stoi(y) + 4) +
           "\">" + html_text(series[s].name) + "</text>\n";
  }
  return svg + "</svg>\n";
}

std::string terminal_chart(const std::vector<Series>& series, const ChartTitles& titles, Scale y_scale,
                           std::size_t columns, std::size_t rows) {
  const Drawing d(series, y_scale);
  constexpr std::size_t kMargin = 9;
  const std::size_t width = std::max<std::size_t>(columns, kMargin + 12) - kMargin - 1;
  std::vector<std::string> canvas(rows, std::string(width, ' '));
  for (std::size_t s = 0; s < d.series.size(); ++s) {
    const std::vector<std::pair<double, double>>& points = d.series[s].points;
    const char letter = static_cast<char>('a' + s % 26);
    std::size_t next = 0;  // the first point at or after the column
    for (std::size_t c = 0; c < width && !points.empty(); ++c) {
      const double x = d.x0 + (d.x1 - d.x0) * static_cast<double>(c) / static_cast<double>(width - 1);
      while (next < points.size() && points[next].first < x) ++next;
      if ((next == 0 && points[0].first > x + (d.x1 - d.x0) / static_cast<double>(width)) || next == points.size()) {
        if (next == 0 || x > points.back().first + (d.x1 - d.x0) / static_cast<double>(width)) continue;
      }
      const auto& right = points[std::min(next, points.size() - 1)];
      const auto& left = points[next == 0 ? 0 : next - 1];
      const double along = right.first > left.first ? (x - left.first) / (right.first - left.first) : 0;
      const double y = left.second + std::clamp(along, 0.0, 1.0) * (right.second - left.second);
      const auto row =
          static_cast<std::size_t>(std::lround((1 - std::clamp(d.up(y), 0.0, 1.0)) * static_cast<double>(rows - 1)));
      canvas[row][c] = letter;
    }
  }
  std::string text = titles.y + "\n";
  for (std::size_t r = 0; r < rows; ++r) {
    std::string label;
    if (r == 0) label = tick_text(d.y1);
    if (r + 1 == rows) label = tick_text(d.y0);
    if (label.size() > kMargin - 1) label.resize(kMargin - 1);
    const std::string& line = canvas[r];
    text += std::string(kMargin - 1 - label.size(), ' ') + label + " |" +
            line.substr(0, line.find_last_not_of(' ') + 1) + "\n";
  }
  const std::string first = tick_text(d.x0);
  const std::string last = tick_text(d.x1) + " " + titles.x;
  text += std::string(kMargin, ' ') + "+" + std::string(width, '-') + "\n" + std::string(kMargin + 1, ' ') + first;
  text += std::string(width > first.size() + last.size() ? width - first.size() - last.size() : 1, ' ') + last + "\n";
  for (std::size_t s = 0; s < series.size(); ++s) {
    text += std::string(1, static_cast<char>('a' + s % 26)) + "  " + printable(series[s].name) + "\n";
  }
  return text;
}

}  // namespace mixgrad::app
