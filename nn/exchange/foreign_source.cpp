#include "nn/exchange/foreign_source.h"

#include <algorithm>
#include <string>
#include <system_error>
#include <vector>

#include "core/error.h"
#include "core/text/suggest.h"
#include "nn/exchange/format.h"
#include "nn/files/file.h"
#include "nn/files/generations.h"

namespace mixgrad {
namespace {

namespace fs = std::filesystem;

bool is_pickle(std::string_view content) {
  return content.starts_with("PK\x03\x04") || (content.size() > 1 && content[0] == '\x80' && content[1] <= '\x05');
}

[[noreturn]] void refuse_pickle(const fs::path& folder, const std::string& what) {
  raise<FormatError>(
      what, ": weights must be safetensors; this is a pickle of PyTorch, which can run any program when ",
      "it is read; convert it once with these two lines of Python: \"from transformers import ",
      "AutoModelForCausalLM\" and \"AutoModelForCausalLM.from_pretrained('", folder.string(), "').save_pretrained('",
      (folder.has_filename() ? folder : folder.parent_path()).string(), "-safetensors')\"");
}

[[noreturn]] void refuse_lone_pickle(const std::string& file) {
  raise<FormatError>(file,
                     ": weights must be safetensors; this is a pickle of PyTorch, which can run any program when ",
                     "it is read; convert it once with these two lines of Python: \"import torch, safetensors.torch\" ",
                     "and \"safetensors.torch.save_file(torch.load('", file,
                     "', weights_only=True), 'model.safetensors')\", and put its config.json beside it");
}

std::vector<std::string> formats() {
  std::vector<std::string> all;
  for (const ExchangeFormat& format : exchange_formats()) all.push_back(format.summary);
  return all;
}

[[noreturn]] void refuse_folder(const fs::path& source) {
  std::error_code error;
  for (const auto& item : fs::directory_iterator(source, error)) {
    const fs::path name = item.path().filename();
    const std::string extension = name.extension().string();
    const bool named = extension == ".pt" || extension == ".pth" || extension == ".ckpt" ||
                       (extension == ".bin" && name.string().starts_with("pytorch_model"));
    if (named) refuse_pickle(source, item.path().string());
  }
  const bool has_config = fs::exists(source / "config.json", error);
  raise<FormatError>(source.string(), ": a model to import must be ", join(formats()), "; this folder has ",
                     has_config ? "no model.safetensors" : "no config.json", "; check the path");
}

}  // namespace

void refuse_source(const fs::path& source) {
  std::error_code error;
  if (fs::is_directory(source, error)) {
    if (!holds_run(source)) refuse_folder(source);
    raise<FormatError>(source.string(), ": a model to import must be of another program; this is a run of mixgrad; ",
                       "give it to --checkpoint");
  }
  const MappedFile file = MappedFile::open(source);
  if (is_pickle(file.text())) refuse_lone_pickle(source.string());
  if (file.text().starts_with("GGUF")) {
    raise<FormatError>(source.string(), ": a model to import must be ", join(formats()), "; this is a GGUF file; ",
                       "import the model that it was made from");
  }
  if (source.extension() == ".safetensors") {
    raise<FormatError>(source.string(), ": a model to import must be ", join(formats()), "; this is one of its files; ",
                       "give the folder that holds it with its config.json");
  }
  raise<FormatError>(source.string(), ": a model to import must be ", join(formats()),
                     "; this file begins like none; check the path");
}

void require_free_folder(const fs::path& out) {
  std::error_code error;
  const fs::file_status status = fs::symlink_status(out, error);
  if (!fs::exists(status)) return;
  if (fs::is_directory(status) && fs::is_empty(out, error) && !error) return;
  raise<ValueError>("--out ", out.string(), ": must not exist, or be an empty folder; ",
                    fs::is_directory(status) ? "it holds something" : "it is no folder",
                    "; choose another folder (nothing was changed)");
}

}  // namespace mixgrad
