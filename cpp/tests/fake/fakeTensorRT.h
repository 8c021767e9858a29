#pragma once

//! \file The stand-in for TensorRT's library, built against its real headers. A plan is JSON:
//!
//!     {"inputs": {"x": [-1, 4]}, "profiles": [{"x": [[1, 4], [2, 4], [8, 4]]}], "type": "float32",
//!      "kind": "double", "hostCode": false, "needsPlugin": false, "sizesOnHost": false, "refuse": "reason"}
//!
//! of which only inputs must be there. Its engine computes, of the first input x:
//!  - kind "double": y = x + x;
//!  - kind "positive": y as well, and positive, the values above zero, as many as there are;
//!  - kind "means": scores, the mean of each row of an N x C x H x W x.

namespace fake
{

//! Execution contexts at the moment, and in all.
int contextsAlive();
int contextsMade();

//! What the library tells of its version; TensorRT before 10 does not tell the build number.
void setLibraryVersion(int major, int minor, int patch, int build);

//! Lets the next runs fail.
void setRunsFail(bool fail);

} // namespace fake
