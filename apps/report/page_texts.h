// The files of apps/report/page/, as text of the program.
#pragma once

namespace mixgrad::app {

extern const char* const kReportHtml;  // with @NAMES@ of what report_page.cpp puts in their place
extern const char* const kReportCss;
extern const char* const kReportJs;

}  // namespace mixgrad::app
