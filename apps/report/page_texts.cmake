# The files of page/ become text of the program that includes this file: NAME.EXT is kNameExt of page_texts.h. Sets
# mixgrad_page_texts to the source file with them.
set(page ${PROJECT_SOURCE_DIR}/apps/report/page)
foreach(name report.html report.css report.js curves.js explore.html explore.js picture.js tape.html tape.js)
  set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${page}/${name})
  string(REPLACE "." "_" variable ${name})
  file(READ ${page}/${name} ${variable})
endforeach()
set(mixgrad_page_texts ${PROJECT_BINARY_DIR}/generated/page_texts.cpp)
configure_file(${PROJECT_SOURCE_DIR}/apps/report/page_texts.cpp.in ${mixgrad_page_texts} @ONLY)
