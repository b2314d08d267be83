// The files of apps/report/page/, as text of the program.
#pragma once

namespace mixgrad::app {

extern const char* const kReportHtml;  // with @NAMES@ of what report_page.cpp puts in their place
extern const char* const kReportCss;
extern const char* const kReportJs;
extern const char* const kExploreHtml;  // likewise, of explore_page.cpp; with the style of the report
extern const char* const kExploreJs;
extern const char* const kTapeHtml;  // likewise, of tape_page.cpp
extern const char* const kTapeJs;
extern const char* const kPictureJs;  // stands before all of the others
extern const char* const kCurvesJs;   // stands between it and kReportJs

}  // namespace mixgrad::app
